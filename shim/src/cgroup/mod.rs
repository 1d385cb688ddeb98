// SPDX-License-Identifier: Apache-2.0
//! Where a container's processes are accounted, on cgroup v1, v2 or a mix of both.

mod kill;
mod metrics;
mod oom;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub(crate) use kill::{signal_all, signal_family, thaw};
pub(crate) use metrics::metrics;
pub(crate) use oom::OomWatch;

/// The cgroups of one container, remembered when its init is made: a zombie tells no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cgroups {
    /// Path in the v1 hierarchies, relative to their roots.
    v1: Option<Box<str>>,
    /// Path in the unified hierarchy.
    v2: Option<Box<str>>,
}

/// The controller whose v1 path stands for all: runtimes use the same path everywhere, but a host
/// may lack some controllers.
const V1_WITNESSES: [&str; 4] = ["memory", "pids", "cpuacct", "freezer"];

impl Cgroups {
    /// Where `pid` is now.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string(format!("/proc/{pid}/cgroup"))?))
    }

    /// The cgroup with the same path in every hierarchy.
    pub(crate) fn at(path: &str) -> Self {
        Self { v1: Some(path.into()), v2: Some(path.into()) }
    }

    /// Reads the lines of `/proc/PID/cgroup`, `ID:CONTROLLERS:PATH` each.
    fn parse(text: &str) -> Self {
        let lines = || {
            text.lines().filter_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                Some((parts.next()?, parts.next()?))
            })
        };
        let path_of = |wanted: &str| {
            lines().find(|(names, _)| names.split(',').any(|n| n == wanted)).map(|(_, p)| p)
        };
        // The root is never a container's cgroup: then this hierarchy is not in use.
        let used = |p: &str| p != "/";
        Self {
            v1: V1_WITNESSES.into_iter().find_map(path_of).filter(|p| used(p)).map(Into::into),
            v2: path_of("").filter(|p| used(p)).map(Into::into),
        }
    }

    /// Directory in the v1 hierarchy of `controller`, if it is there.
    pub(crate) fn v1_dir(&self, controller: &str) -> Option<PathBuf> {
        let root = v1_root(controller)?;
        Some(root.join(self.v1.as_deref()?.trim_start_matches('/'))).filter(|d| d.is_dir())
    }

    /// Directory in the unified hierarchy, if it is there.
    pub(crate) fn v2_dir(&self) -> Option<PathBuf> {
        let root = v2_root()?;
        Some(root.join(self.v2.as_deref()?.trim_start_matches('/'))).filter(|d| d.is_dir())
    }

    /// Every directory that lists the container's processes, the surest first.
    fn process_dirs(&self) -> impl Iterator<Item = PathBuf> + '_ {
        let v1 = ["freezer", "pids", "memory"].into_iter().filter_map(|c| self.v1_dir(c));
        self.v2_dir().into_iter().chain(v1)
    }

    /// Pids of the container, on the host.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let mut pids: Vec<u32> = Vec::new();
        if let Some(dir) = self.process_dirs().next() {
            collect_pids(&dir, &mut pids);
        }
        pids
    }
}

fn collect_pids(dir: &Path, pids: &mut Vec<u32>) {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    pids.extend(text.lines().filter_map(|l| l.parse::<u32>().ok()).filter(|p| *p != 0));
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        collect_pids(&entry.path(), pids);
    }
}

/// Moves `pid` to the cgroup `path` in every hierarchy that is mounted, making it where it is not
/// there yet.
pub(crate) fn enter(path: &str, pid: u32) -> io::Result<()> {
    let relative = path.trim_start_matches('/');
    let roots = mounts().into_iter().map(|m| m.dir);
    let mut last = None;
    let mut entered = false;
    for root in roots {
        let dir = root.join(relative);
        let moved = fs::create_dir_all(&dir)
            .and_then(|()| fs::write(dir.join("cgroup.procs"), pid.to_string()));
        match moved {
            Ok(()) => entered = true,
            Err(error) => last = Some((dir, error)),
        }
    }
    match (entered, last) {
        (false, Some((dir, error))) => {
            let text = format!("cannot move process {pid} to cgroup {}: {error}", dir.display());
            Err(io::Error::new(error.kind(), text))
        }
        _ => Ok(()),
    }
}

/// One mounted hierarchy.
struct Hierarchy {
    dir: PathBuf,
    /// v1: the controllers; v2: `None`.
    controllers: Option<String>,
}

fn mounts() -> Vec<Hierarchy> {
    hierarchies(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

/// Reads `/proc/self/mountinfo` (proc(5)): fields, ` - `, type, source, super options.
fn hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    let line = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let dir = PathBuf::from(left.split(' ').nth(4)?);
        let mut right = right.split(' ');
        match right.next()? {
            "cgroup" => {
                let controllers = right.nth(1)?.to_owned();
                Some(Hierarchy { dir, controllers: Some(controllers) })
            }
            "cgroup2" => Some(Hierarchy { dir, controllers: None }),
            _ => None,
        }
    };
    mountinfo.lines().filter_map(line).collect()
}

fn v1_root(controller: &str) -> Option<PathBuf> {
    let has = |h: &Hierarchy| {
        h.controllers.as_ref().is_some_and(|c| c.split(',').any(|c| c == controller))
    };
    mounts().into_iter().find(has).map(|h| h.dir)
}

fn v2_root() -> Option<PathBuf> {
    mounts().into_iter().find(|h| h.controllers.is_none()).map(|h| h.dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_on_v1_and_one_on_v2_are_found() {
        let v1 = "12:memory:/kubepods/a\n11:cpu,cpuacct:/kubepods/a\n1:name=systemd:/x\n0::/\n";
        assert_eq!(Cgroups::parse(v1), Cgroups { v1: Some("/kubepods/a".into()), v2: None });
        let v2 = "0::/kubepods.slice/crisp-1.scope\n";
        assert_eq!(
            Cgroups::parse(v2),
            Cgroups { v1: None, v2: Some("/kubepods.slice/crisp-1.scope".into()) }
        );
    }

    #[test]
    fn hierarchies_are_found_by_their_mounts() {
        let text = "30 25 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                    31 25 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                    32 25 0:28 / /proc rw - proc proc rw\n";
        let found = hierarchies(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].controllers.as_deref(), Some("rw,memory"));
        assert_eq!(found[1].dir, Path::new("/sys/fs/cgroup/unified"));
    }
}
