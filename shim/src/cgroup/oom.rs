// SPDX-License-Identifier: Apache-2.0
//! Evidence of the kernel's OOM killer: a counter that is read at the container's end, before its
//! cgroup goes, and a wake-up that tells of kills which the container survives.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::event::{EventfdFlags, eventfd};
use tokio::io::{Interest, unix::AsyncFd};

use super::Cgroups;
use crate::sys;

/// Where v2 counts what happened to a cgroup's memory, and to that of all cgroups below it.
const EVENTS: &str = "memory.events";

/// Counts kills in one container.
pub(crate) struct OomWatch {
    own: Counter,
    /// systemd removes a scope as soon as it is empty, often before its last process is reaped, and
    /// the count of its kills goes with it. It lives on in the slice, which counts all that is
    /// below it.
    slice: Option<Counter>,
    /// The most that was seen of `own`.
    seen: AtomicU64,
}

/// The kills of a cgroup since this was made.
struct Counter {
    /// `memory.oom_control` (v1) or `memory.events` (v2).
    file: PathBuf,
    baseline: u64,
}

impl Counter {
    fn of(file: PathBuf) -> Option<Self> {
        let baseline = read(&file)?;
        Some(Self { file, baseline })
    }

    /// `None`: the cgroup is gone.
    fn kills(&self) -> Option<u64> {
        Some(read(&self.file)?.saturating_sub(self.baseline))
    }
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
        let v2 = || cgroups.v2_dir().map(|d| d.join(EVENTS));
        let own = Counter::of(v1().or_else(v2)?)?;
        let slice = slice_of(&own.file).and_then(|dir| Counter::of(dir.join(EVENTS)));
        Some(Self { own, slice, seen: AtomicU64::new(0) })
    }

    /// How many processes of the container were killed since the watch began, as far as its own
    /// cgroup tells: what was last seen, once that is gone.
    pub(crate) fn kills(&self) -> u64 {
        let kills = self.own.kills().unwrap_or_default();
        self.seen.fetch_max(kills, Ordering::Relaxed).max(kills)
    }

    /// Whether the kernel's OOM killer is why init was killed by SIGKILL. Where the container's
    /// scope is gone with its count, a kill below its slice meanwhile has to be evidence enough.
    pub(crate) fn killed_init(&self) -> bool {
        let gone = self.own.kills().is_none();
        let below_slice = || self.slice.as_ref().and_then(Counter::kills).unwrap_or_default();
        self.kills() > 0 || (gone && below_slice() > 0)
    }

    /// A bell that rings on kills.
    pub(crate) fn bell(&self) -> io::Result<OomBell> {
        let file = File::open(&self.own.file)?;
        if self.own.file.ends_with(EVENTS) {
            return Ok(OomBell::V2(sys::watch(file, Interest::PRIORITY)?));
        }
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let line = format!("{} {}", event.as_raw_fd(), file.as_raw_fd());
        let dir = self.own.file.parent().unwrap_or(Path::new("/"));
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

/// The slice that holds the scope which `counter` is in or below.
fn slice_of(counter: &Path) -> Option<&Path> {
    let is_scope = |path: &&Path| path.extension().is_some_and(|kind| kind == "scope");
    counter.ancestors().find(is_scope)?.parent()
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

    #[test]
    fn a_scope_that_is_gone_has_its_slice_for_a_witness() {
        let slice = tempfile::tempdir().unwrap();
        let scope = slice.path().join("crisp-1.scope");
        // crun puts the container one level below its scope.
        let own = scope.join("container");
        fs::create_dir_all(&own).unwrap();
        let count = |dir: &Path, kills: u32| {
            fs::write(dir.join(EVENTS), format!("oom 9\noom_kill {kills}\n")).unwrap();
        };
        count(slice.path(), 4);
        count(&own, 0);
        assert_eq!(slice_of(&own.join(EVENTS)), Some(slice.path()));
        assert_eq!(slice_of(Path::new("/sys/fs/cgroup/kubepods/crisp-1/memory.events")), None);

        let watch = OomWatch {
            own: Counter::of(own.join(EVENTS)).unwrap(),
            slice: Counter::of(slice.path().join(EVENTS)),
            seen: AtomicU64::new(0),
        };
        count(slice.path(), 5);
        assert!(!watch.killed_init(), "another container's kill, while this one's own count tells");
        count(slice.path(), 4);
        fs::remove_dir_all(&scope).unwrap();
        assert!(!watch.killed_init());
        count(slice.path(), 5);
        assert!(watch.killed_init());
    }
}
