// SPDX-License-Identifier: Apache-2.0
//! Evidence of the kernel's OOM killer: a counter that is read at the container's end, before its
//! cgroup goes, and a wake-up that tells of kills which the container survives.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::event::{EventfdFlags, eventfd};
use tokio::io::{Interest, unix::AsyncFd};

use super::Cgroups;
use crate::sys;

/// Counts kills in one container.
pub(crate) struct OomWatch {
    /// `memory.oom_control` (v1) or `memory.events` (v2).
    counter: PathBuf,
    baseline: u64,
}

/// Wakes when the counter may have grown.
pub(crate) enum OomBell {
    V1(AsyncFd<OwnedFd>),
    V2(AsyncFd<OwnedFd>),
}

impl OomWatch {
    /// Starts counting. `None`: the container has no memory cgroup, so nothing can be known.
    pub(crate) fn arm(cgroups: &Cgroups) -> Option<Self> {
        let v1 = || cgroups.v1_dir("memory").map(|d| d.join("memory.oom_control"));
        let v2 = || cgroups.v2_dir().map(|d| d.join("memory.events"));
        let counter = v1().or_else(v2).filter(|f| f.exists())?;
        let baseline = read(&counter)?;
        Some(Self { counter, baseline })
    }

    /// How many processes of the container were killed since the watch began.
    pub(crate) fn kills(&self) -> u64 {
        read(&self.counter).unwrap_or(self.baseline).saturating_sub(self.baseline)
    }

    /// A bell that rings on kills.
    pub(crate) fn bell(&self) -> io::Result<OomBell> {
        let file = File::open(&self.counter)?;
        if self.counter.ends_with("memory.events") {
            return Ok(OomBell::V2(sys::watch(file, Interest::PRIORITY)?));
        }
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let line = format!("{} {}", event.as_raw_fd(), file.as_raw_fd());
        let dir = self.counter.parent().unwrap_or(Path::new("/"));
        fs::write(dir.join("cgroup.event_control"), line)?;
        Ok(OomBell::V1(sys::watch(event, Interest::READABLE)?))
    }
}

impl OomBell {
    /// Waits for the next ring; `false` when the cgroup is gone. The bell of v1 also rings when the
    /// cgroup is removed: the counter, not the ring, is the evidence.
    pub(crate) async fn ring(&mut self) -> bool {
        match self {
            Self::V1(event) => {
                let Ok(mut ready) = event.readable().await else { return false };
                let mut count = [0; 8];
                let read = rustix::io::read(event.get_ref(), &mut count).is_ok();
                ready.clear_ready();
                read
            }
            Self::V2(file) => {
                let Ok(mut ready) = file.ready(Interest::PRIORITY).await else { return false };
                // Reading is what arms the next ring.
                let read = rustix::io::pread(file.get_ref(), &mut [0; 512], 0);
                ready.clear_ready();
                read.is_ok()
            }
        }
    }
}

fn read(counter: &Path) -> Option<u64> {
    parse(&fs::read_to_string(counter).ok()?)
}

/// `oom_kill N` is in both files, in a line of its own.
fn parse(text: &str) -> Option<u64> {
    text.lines().find_map(|l| l.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_in_either_form() {
        assert_eq!(parse("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), Some(3));
        assert_eq!(parse("low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n"), Some(1));
        assert_eq!(parse("under_oom 0\n"), None);
    }
}
