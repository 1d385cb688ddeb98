// SPDX-License-Identifier: Apache-2.0
//! cgroups: how they are named for each driver, made, emptied and removed, on cgroup v1 and v2.

mod name;
mod read_v1;
mod read_v2;
#[cfg(test)]
mod tests;
mod text;
mod tree;
mod usage;

use std::{io, path::PathBuf, time::Duration};

use crisp_words::{ContainerId, SandboxId};

pub use name::ContainerCgroup;
pub use tree::{Hierarchies, Version};
pub use usage::{
    CpuUsage, Detail, DeviceIo, HugetlbUsage, MemoryUsage, Pressure, Psi, PsiShare, TaskUsage,
    Usage,
};

/// Who makes the containers' cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// The OCI runtime, through the file system.
    Cgroupfs,
    /// systemd, asked by the OCI runtime.
    Systemd,
}

/// Something about cgroups that failed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The host's hierarchies cannot be found.
    #[error("cannot find the cgroup hierarchies: {0}")]
    Hierarchies(io::Error),
    /// A cgroup cannot be made, read or removed.
    #[error("cgroup {path}: {source}")]
    Cgroup {
        /// Directory.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// Processes outlived SIGKILL.
    #[error("cgroup {path}: processes are still there {after:?} after they were killed")]
    NotEmpty {
        /// Path from the hierarchy's root.
        path: String,
        /// How long it was tried.
        after: Duration,
    },
}

/// The cgroups of this node. Clones share nothing and are cheap.
#[derive(Debug, Clone)]
pub struct Cgroups {
    driver: Driver,
    hierarchies: Hierarchies,
}

impl Cgroups {
    /// Finds the host's hierarchies.
    ///
    /// # Errors
    /// [`CgroupError::Hierarchies`].
    pub fn detect(driver: Driver) -> Result<Self, CgroupError> {
        let hierarchies = Hierarchies::detect().map_err(CgroupError::Hierarchies)?;
        Ok(Self { driver, hierarchies })
    }

    /// Who makes the containers' cgroups.
    #[must_use]
    pub fn driver(&self) -> Driver {
        self.driver
    }

    /// The host's hierarchies.
    #[must_use]
    pub fn hierarchies(&self) -> &Hierarchies {
        &self.hierarchies
    }

    /// Parent cgroup, in the client's manner of naming, for a pod whose client named none.
    #[must_use]
    pub fn own_pod(&self, id: &SandboxId) -> String {
        name::own_pod(self.driver, id)
    }

    /// Path from the hierarchy's root of the parent cgroup that a client names.
    #[must_use]
    pub fn parent_path(&self, parent: &str) -> String {
        name::parent_path(self.driver, parent)
    }

    /// A container's cgroup below its pod's.
    #[must_use]
    pub fn container(&self, parent: &str, id: &ContainerId) -> ContainerCgroup {
        name::container(self.driver, parent, id)
    }

    /// The cgroup that a `cgroupsPath` names, if it is in the driver's form.
    #[must_use]
    pub fn named(&self, for_runtime: &str) -> Option<ContainerCgroup> {
        name::named(self.driver, for_runtime)
    }

    /// Path from the hierarchy's root of a shim's cgroup below its pod's.
    #[must_use]
    pub fn shim_path(&self, parent: &str, id: &SandboxId) -> String {
        format!("{}/crisp-shim-{id}", name::parent_path(self.driver, parent))
    }

    /// Makes a cgroup in every hierarchy.
    ///
    /// # Errors
    /// [`CgroupError::Cgroup`].
    pub fn create(&self, path: &str) -> Result<(), CgroupError> {
        self.hierarchies.create(path)
    }

    /// Makes a cgroup in every hierarchy where it is not there yet; answers with its directories.
    ///
    /// # Errors
    /// [`CgroupError::Cgroup`].
    pub fn directories(&self, path: &str) -> Result<Vec<PathBuf>, CgroupError> {
        self.hierarchies.create(path)?;
        Ok(self.hierarchies.directories(path).filter(|directory| directory.is_dir()).collect())
    }

    /// Moves a process, with all its threads, into a cgroup that is made if it is not there.
    ///
    /// # Errors
    /// [`CgroupError::Cgroup`].
    pub fn join(&self, path: &str, pid: u32) -> Result<(), CgroupError> {
        self.hierarchies.create(path)?;
        self.hierarchies.join(path, pid)
    }

    /// Removes an empty cgroup and its empty children from every hierarchy.
    ///
    /// # Errors
    /// [`CgroupError::Cgroup`], as when processes are still in it.
    pub fn remove(&self, path: &str) -> Result<(), CgroupError> {
        self.hierarchies.remove(path)
    }

    /// What each cgroup of `paths` has used; `None` for one that is not there. Reads files and
    /// starts no process; some tens of microseconds for each cgroup.
    #[must_use]
    pub fn usage<'a>(
        &self,
        paths: impl IntoIterator<Item = &'a str>,
        detail: Detail,
    ) -> Vec<Option<Usage>> {
        let mut files = text::Files::default();
        let one = |path| self.hierarchies.usage(&mut files, path, detail);
        paths.into_iter().map(one).collect()
    }

    /// Pids of the processes in a cgroup and below it.
    ///
    /// # Errors
    /// [`CgroupError::Cgroup`]; a cgroup that is not there has none.
    pub fn processes(&self, path: &str) -> Result<Vec<i32>, CgroupError> {
        self.hierarchies.processes(path)
    }

    /// Kills everything in a cgroup and below, and waits until it is gone. One that does not
    /// exist is empty.
    ///
    /// # Errors
    /// [`CgroupError::NotEmpty`] when something survives, as in uninterruptible sleep.
    pub async fn kill(&self, path: &str) -> Result<(), CgroupError> {
        const PAUSE: Duration = Duration::from_millis(5);
        const TRIES: u32 = 1000;
        for _ in 0..TRIES {
            // A process may fork between reading the list and the kill: until none is seen.
            if self.hierarchies.kill_once(path)? == 0 {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(CgroupError::NotEmpty { path: path.to_owned(), after: PAUSE * TRIES })
    }
}
