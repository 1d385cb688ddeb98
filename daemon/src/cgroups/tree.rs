// SPDX-License-Identifier: Apache-2.0
//! The host's cgroup hierarchies and what is done in all of them at once.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{
    CgroupError, read_v1, read_v2,
    text::Files,
    usage::{Detail, Usage},
};

const ROOT: &str = "/sys/fs/cgroup";
const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;

/// Which cgroup interface carries the controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy for each controller.
    V1,
    /// One hierarchy.
    V2,
}

/// Where the hierarchies are mounted.
#[derive(Debug, Clone)]
pub struct Hierarchies {
    version: Version,
    /// v1: (controllers, mount point) of each. v2: the one.
    mounts: Vec<(Vec<String>, PathBuf)>,
    /// The hierarchy of v2 that carries no controller, beside those of v1. OCI runtimes put
    /// processes into it too, and leave the parents that they made for it.
    bare: Option<PathBuf>,
}

impl Hierarchies {
    /// Finds them.
    ///
    /// # Errors
    /// The file system's error when there are none.
    pub fn detect() -> io::Result<Self> {
        let kind = rustix::fs::statfs(ROOT)?.f_type;
        if kind == CGROUP2_SUPER_MAGIC {
            let mounts = vec![(Vec::new(), PathBuf::from(ROOT))];
            return Ok(Self { version: Version::V2, mounts, bare: None });
        }
        let table = fs::read_to_string("/proc/self/mountinfo")?;
        let (mounts, bare) = (v1_mounts(&table), v2_mount(&table));
        if mounts.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("none below {ROOT}")));
        }
        Ok(Self { version: Version::V1, mounts, bare })
    }

    /// Which interface it is.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Directory of a cgroup in the hierarchy of a controller; on v2 in the only one.
    #[must_use]
    pub fn directory(&self, controller: &str, path: &str) -> Option<PathBuf> {
        let has = |names: &[String]| names.iter().any(|name| name == controller);
        let found = self.mounts.iter().find(|(names, _)| self.version == Version::V2 || has(names));
        found.map(|(_, mount)| below(mount, path))
    }

    pub(super) fn usage(&self, files: &mut Files, path: &str, detail: Detail) -> Option<Usage> {
        let usage = match (self.version, self.mounts.first()) {
            (Version::V2, Some((_, mount))) => read_v2::read(files, &below(mount, path), detail),
            _ => read_v1::read(self, files, path, detail),
        };
        (usage.cpu.is_some() || usage.memory.is_some()).then_some(usage)
    }

    /// Every process is in each hierarchy that its container was put into: one will do.
    pub(super) fn processes(&self, path: &str) -> Result<Vec<i32>, CgroupError> {
        let known = ["memory", "cpuacct", "pids"].iter().find_map(|c| self.directory(c, path));
        let Some(directory) = known else { return Ok(Vec::new()) };
        let mut seen = BTreeSet::new();
        processes(&directory, &mut seen)
            .map_err(|source| CgroupError::Cgroup { path: directory, source })?;
        Ok(seen.into_iter().collect())
    }

    pub(super) fn directories(&self, path: &str) -> impl Iterator<Item = PathBuf> {
        let mounts = self.mounts.iter().map(|(_, mount)| mount).chain(&self.bare);
        mounts.map(move |mount| below(mount, path))
    }

    pub(super) fn create(&self, path: &str) -> Result<(), CgroupError> {
        for (controllers, mount) in &self.mounts {
            let directory = below(mount, path);
            let made = match self.version {
                Version::V1 if controllers.iter().any(|c| c == "cpuset") => {
                    create_cpuset(mount, &directory)
                }
                Version::V1 => fs::create_dir_all(&directory),
                Version::V2 => create_v2(mount, &directory),
            };
            made.map_err(|source| CgroupError::Cgroup { path: directory, source })?;
        }
        Ok(())
    }

    pub(super) fn join(&self, path: &str, pid: u32) -> Result<(), CgroupError> {
        for (_, mount) in &self.mounts {
            let procs = below(mount, path).join("cgroup.procs");
            fs::write(&procs, pid.to_string())
                .map_err(|source| CgroupError::Cgroup { path: procs, source })?;
        }
        Ok(())
    }

    pub(super) fn remove(&self, path: &str) -> Result<(), CgroupError> {
        let mut first = Ok(());
        for directory in self.directories(path) {
            let removed = remove_empty(&directory);
            let done = removed.map_err(|source| CgroupError::Cgroup { path: directory, source });
            first = first.and(done);
        }
        first
    }

    /// Kills every process seen in the cgroup and below; answers how many were seen.
    pub(super) fn kill_once(&self, path: &str) -> Result<usize, CgroupError> {
        let mut seen = BTreeSet::new();
        for directory in self.directories(path) {
            processes(&directory, &mut seen)
                .map_err(|source| CgroupError::Cgroup { path: directory, source })?;
        }
        if self.version == Version::V2 && !seen.is_empty() {
            // One write takes the whole subtree at once: no fork escapes it. There from kernel
            // 5.14 on; the signals below are for what refuses it.
            for directory in self.directories(path) {
                let _ = fs::write(directory.join("cgroup.kill"), "1");
            }
        }
        for pid in &seen {
            if let Some(pid) = Pid::from_raw(*pid) {
                // One that ended meanwhile is what was wanted.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        Ok(seen.len())
    }
}

fn below(mount: &Path, path: &str) -> PathBuf {
    mount.join(path.trim_start_matches('/'))
}

/// v1 mounts of `mountinfo`: those of type `cgroup` that carry a controller.
fn v1_mounts(mountinfo: &str) -> Vec<(Vec<String>, PathBuf)> {
    mountinfo.lines().filter_map(v1_mount).collect()
}

fn v1_mount(line: &str) -> Option<(Vec<String>, PathBuf)> {
    let (mount, rest) = line.split_once(" - ")?;
    let mut rest = rest.split(' ');
    let (kind, _, options) = (rest.next()?, rest.next()?, rest.next()?);
    let point = mount.split(' ').nth(4)?;
    let names: Vec<String> = options
        .split(',')
        .filter(|word| !matches!(*word, "rw" | "ro" | "xattr" | "clone_children"))
        .map(str::to_owned)
        .collect();
    let real = kind == "cgroup" && !names.is_empty();
    real.then(|| (names, PathBuf::from(point)))
}

/// Mount point of v2 in `mountinfo`.
fn v2_mount(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, rest) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?;
        let ours = rest.starts_with("cgroup2 ") && Path::new(point).starts_with(ROOT);
        ours.then(|| PathBuf::from(point))
    })
}

/// A new cpuset has no CPUs and no memory nodes until it is given some, and takes no process
/// before. Whoever made it, as a shim does, may not have done so.
fn create_cpuset(mount: &Path, directory: &Path) -> io::Result<()> {
    if directory == mount {
        return Ok(());
    }
    let Some(parent) = directory.parent() else { return Ok(()) };
    create_cpuset(mount, parent)?;
    match fs::create_dir(directory) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = directory.join(file);
        if fs::read_to_string(&own)?.trim().is_empty() {
            let inherited = fs::read_to_string(parent.join(file))?;
            if !inherited.trim().is_empty() {
                fs::write(own, inherited.trim())?;
            }
        }
    }
    Ok(())
}

/// Children get the controllers that their parent hands on.
fn create_v2(mount: &Path, directory: &Path) -> io::Result<()> {
    if directory == mount || directory.exists() {
        return Ok(());
    }
    let Some(parent) = directory.parent() else { return Ok(()) };
    create_v2(mount, parent)?;
    for controller in fs::read_to_string(parent.join("cgroup.controllers"))?.split_whitespace() {
        // A controller that cannot be handed on (threaded cgroups) leaves the others usable.
        let _ = fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
    }
    fs::create_dir(directory)
}

fn remove_empty(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_empty(&entry.path())?;
        }
    }
    match fs::remove_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn processes(directory: &Path, seen: &mut BTreeSet<i32>) -> io::Result<()> {
    let gone = |e: &io::Error| {
        e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ENODEV)
    };
    match fs::read_to_string(directory.join("cgroup.procs")) {
        Err(e) if gone(&e) => return Ok(()),
        text => seen.extend(text?.lines().filter_map(|pid| pid.parse::<i32>().ok())),
    }
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            processes(&entry.path(), seen)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v1_hierarchies_are_found_in_mountinfo() {
        let text = "30 24 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n\
                    31 24 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
                    32 24 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                    33 24 0:29 / /proc rw - proc proc rw\n";
        let found = v1_mounts(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].0, ["cpu", "cpuacct"]);
        assert_eq!(found[1].0, ["name=systemd"]);
        assert_eq!(v2_mount(text), Some("/sys/fs/cgroup/unified".into()));
    }
}
