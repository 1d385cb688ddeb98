// SPDX-License-Identifier: Apache-2.0
//! The records a shim leaves in a bundle: how a container ended, and what another process must
//! know to clean up after a shim that died.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crisp_runtimes::{CgroupDriver, Runtime};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Record of a container, in its bundle.
const CONTAINER: &str = "shim-container.json";
/// Record of a sandbox, in its bundle.
const SANDBOX: &str = "shim-sandbox.json";

/// What `delete` and a successor must know of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub(crate) version: u32,
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) binary: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) systemd_cgroup: bool,
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
    /// Whether the shim mounted the root filesystem.
    pub(crate) mounted: bool,
}

/// What `delete` and a successor must know of a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    pub(crate) version: u32,
    /// Where namespaces are pinned.
    pub(crate) pins: Vec<PathBuf>,
    /// Pid of the sandbox's init and its start time in clock ticks since boot.
    pub(crate) init: Option<(u32, u64)>,
}

/// The format written today, of both.
const VERSION: u32 = 1;

impl ContainerRecord {
    pub(crate) const VERSION: u32 = VERSION;

    pub(crate) fn write(&self, bundle: &Path) -> io::Result<()> {
        write(&bundle.join(CONTAINER), self)
    }

    /// `None` when there is none, or one of a format not known here.
    pub(crate) fn read(bundle: &Path) -> Option<Self> {
        read(&bundle.join(CONTAINER)).filter(|r: &Self| r.version == VERSION)
    }

    pub(crate) fn remove(bundle: &Path) {
        let _ = fs::remove_file(bundle.join(CONTAINER));
    }

    /// The runtime that knows the container.
    pub(crate) fn runtime(&self) -> Option<Runtime> {
        let kind = self.kind.parse().ok()?;
        let cgroups =
            if self.systemd_cgroup { CgroupDriver::Systemd } else { CgroupDriver::Cgroupfs };
        Some(Runtime { kind, binary: self.binary.clone(), root: self.root.clone(), cgroups })
    }
}

impl SandboxRecord {
    pub(crate) const VERSION: u32 = VERSION;

    pub(crate) fn write(&self, bundle: &Path) -> io::Result<()> {
        write(&bundle.join(SANDBOX), self)
    }

    pub(crate) fn read(bundle: &Path) -> Option<Self> {
        read(&bundle.join(SANDBOX)).filter(|r: &Self| r.version == VERSION)
    }

    pub(crate) fn remove(bundle: &Path) {
        let _ = fs::remove_file(bundle.join(SANDBOX));
    }
}

/// Writes `record` so that a reader sees all of it or nothing.
pub(crate) fn write(path: &Path, record: &impl Serialize) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let text = serde_json::to_vec(record).map_err(io::Error::other)?;
    File::create(&temporary)?.write_all(&text)?;
    fs::rename(&temporary, path)
}

/// Reads a record; `None` when it is not there or broken.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// When the process of a pid started, in clock ticks since boot; `None` if there is none.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    crisp_words::start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_one_of_another_format_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let record = SandboxRecord { version: 1, pins: vec!["/p".into()], init: Some((7, 9)) };
        record.write(dir.path()).unwrap();
        assert_eq!(SandboxRecord::read(dir.path()), Some(record.clone()));
        SandboxRecord { version: 2, ..record }.write(dir.path()).unwrap();
        assert_eq!(SandboxRecord::read(dir.path()), None);
    }

    #[test]
    fn the_own_start_time_is_known_and_stays() {
        let own = std::process::id();
        assert!(start_time(own).is_some());
        assert_eq!(start_time(own), start_time(own));
    }
}
