// SPDX-License-Identifier: Apache-2.0

use std::path::{Path, PathBuf};

use crisp_words::{ContainerId, ExecId, SandboxId};

/// Every path crisp keeps something at.
///
/// What dies with the boot is under the run directory, what must outlive it under the root.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
    run: PathBuf,
}

impl Layout {
    /// A layout on `root` (persistent) and `run` (a tmpfs).
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, run: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), run: run.into() }
    }

    /// Persistent directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Run directory.
    #[must_use]
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// Directory of all pods' records.
    #[must_use]
    pub fn pods(&self) -> PathBuf {
        self.run.join("pods")
    }

    /// Directory of a pod's record and files.
    #[must_use]
    pub fn pod(&self, id: &SandboxId) -> PathBuf {
        self.pods().join(id.as_str())
    }

    /// A pod's record.
    #[must_use]
    pub fn pod_record(&self, id: &SandboxId) -> PathBuf {
        self.pod(id).join("pod.json")
    }

    /// Directory in which a pod's namespaces are pinned.
    #[must_use]
    pub fn namespaces(&self, id: &SandboxId) -> PathBuf {
        self.pod(id).join("ns")
    }

    /// A pod's shared memory file system.
    #[must_use]
    pub fn shm(&self, id: &SandboxId) -> PathBuf {
        self.pod(id).join("shm")
    }

    /// Directory of all containers' records.
    #[must_use]
    pub fn containers(&self) -> PathBuf {
        self.run.join("containers")
    }

    /// Directory of a container's record and its image volumes.
    #[must_use]
    pub fn container(&self, id: &ContainerId) -> PathBuf {
        self.containers().join(id.as_str())
    }

    /// A container's record.
    #[must_use]
    pub fn container_record(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join("container.json")
    }

    /// Directory of all bundles: siblings named by their id, as the shim protocol expects.
    #[must_use]
    pub fn bundles(&self) -> PathBuf {
        self.run.join("bundles")
    }

    /// Bundle of a sandbox.
    #[must_use]
    pub fn sandbox_bundle(&self, id: &SandboxId) -> PathBuf {
        self.bundles().join(id.as_str())
    }

    /// Bundle of a container.
    #[must_use]
    pub fn bundle(&self, id: &ContainerId) -> PathBuf {
        self.bundles().join(id.as_str())
    }

    /// Directory of shim sockets: short, for a socket's path is at most 107 bytes.
    #[must_use]
    pub fn sockets(&self) -> PathBuf {
        self.run.join("s")
    }

    /// Directory of the records of sessions.
    #[must_use]
    pub fn sessions(&self) -> PathBuf {
        self.run.join("sessions")
    }

    /// Record of the session of an exec.
    #[must_use]
    pub fn session_record(&self, id: &ExecId) -> PathBuf {
        self.sessions().join(format!("{id}.json"))
    }

    /// State directory of a handler's OCI runtime.
    #[must_use]
    pub fn runtime_state(&self, handler: &str) -> PathBuf {
        self.run.join("runtime").join(handler)
    }
}
