// SPDX-License-Identifier: Apache-2.0
//! What all pods are made with.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crisp_words::{ContainerId, SandboxId};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
    time::Timespec,
};

use super::{
    boot::Boot,
    error::{FaultKind, PodError},
    events::Events,
    handler::{Handler, Handlers},
    index::Index,
    limits::Limits,
    message::PodView,
    names::Names,
    ooms::Ooms,
    progress::Progress,
    record::{CgroupOwner, PodCgroup, PodRecord, ShimRecord},
    spec::PodConfig,
};
use crate::{
    cgroups::Cgroups,
    containers::{apparmor::Offer, host::HostFacts, record::ContainerRecord},
    images::Images,
    metrics::Metrics,
    network::Network,
    nri::Nri,
    rootfs::Rootfs,
    shims::{Dialect, EventsTo, Launch, Launcher},
    store::{self, Layout},
};

/// Handles to every room that a pod's work needs, and the node-wide books.
pub struct Context {
    /// Where things are kept.
    pub layout: Layout,
    /// Images.
    pub images: Images,
    /// Root filesystems.
    pub rootfs: Rootfs,
    /// Pod network.
    pub network: Network,
    /// cgroups.
    pub cgroups: Cgroups,
    /// What the host can do.
    pub host: HostFacts,
    /// AppArmor of the host.
    pub apparmor: Offer,
    /// Runtime handlers.
    pub handlers: Handlers,
    /// Starts shims.
    pub launcher: Launcher,
    /// How long steps may take.
    pub limits: Limits,
    /// What is being done now.
    pub progress: Progress,
    /// What is counted.
    pub metrics: Metrics,
    /// This start of the daemon.
    pub boot: Boot,
    /// Where shims put their sockets: short, for a socket's path is at most 107 bytes.
    pub sockets: PathBuf,
    /// Seccomp profile that RuntimeDefault means; `None` for crisp's own.
    pub default_seccomp: Option<PathBuf>,
    /// Where shims put themselves.
    pub shim_cgroup: ShimCgroup,
    /// What happened.
    pub events: Events,
    /// All pods.
    pub index: Index,
    /// All sandboxes' metadata.
    pub names: Names,
    /// Plugins that follow and adjust pods and containers.
    pub nri: Nri,
    /// Containers whose shims said that memory ran out.
    pub ooms: Ooms,
}

/// Where shims put themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShimCgroup {
    /// Below the pod's cgroup: the pod pays for its shim.
    Pod,
    /// In a cgroup of the operator's choice.
    Path(String),
}

impl Context {
    /// Writes a pod's record.
    ///
    /// # Errors
    /// [`PodError`] naming the record.
    pub fn write_pod(&self, record: &PodRecord) -> Result<(), PodError> {
        store::write(&self.layout.pod_record(&record.id), record)
            .map_err(|e| PodError::step("write pod record", FaultKind::Internal, e))
    }

    /// Writes a container's record.
    ///
    /// # Errors
    /// [`PodError`] naming the record.
    pub fn write_container(&self, record: &ContainerRecord) -> Result<(), PodError> {
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
            PodError::step("write container record", FaultKind::Internal, e)
        };
        crate::files::make_dir(&self.layout.container(&record.id), 0o711)
            .map_err(|e| failed(e.into()))?;
        store::write(&self.layout.container_record(&record.id), record)
            .map_err(|e| failed(e.into()))
    }

    /// Removes the directory of a container whose first record could not be written.
    pub fn drop_container(&self, id: &ContainerId) {
        let dir = self.layout.container(id);
        if let Err(error) = crate::files::remove_tree(&dir) {
            tracing::warn!(dir = %dir.display(), %error, "left-over is not removed");
        }
    }

    /// Shows new containers of a pod to look-ups.
    pub fn index(&self, view: &PodView) {
        self.index.note(view);
    }

    /// Takes a container out of the books.
    pub fn forget_container(&self, id: &ContainerId) {
        self.index.drop_container(id);
    }

    /// Takes a sandbox out of the books.
    pub fn forget_pod(&self, record: &PodRecord) {
        self.index.drop_pod(&record.id);
        self.names.free(&record.config.metadata, &record.id);
    }

    /// The handler that removes what is left of a pod's containers. Of a pod that is gone, or not
    /// known yet after a restart, the default one.
    #[must_use]
    pub fn handler_of(&self, pod: &SandboxId) -> Arc<Handler> {
        let name = self.index.pod(pod.as_str()).map(|door| door.view.borrow().pod.handler.clone());
        self.handlers.choose_or_default(&name.unwrap_or_default()).clone()
    }

    /// How a shim is run for the sandbox or container `id`.
    #[must_use]
    pub fn launch<'a>(&'a self, shim: &'a Path, id: &'a str, bundle: &'a Path) -> Launch<'a> {
        Launch {
            binary: shim,
            id,
            bundle,
            dialect: Dialect::Auto,
            options: None,
            events: EventsTo::Daemon,
            socket_dir: Some(&self.sockets),
            environment: Vec::new(),
        }
    }

    /// The binary of a pod's shim, for what is left of its containers.
    #[must_use]
    pub fn shim_of(&self, pod: &SandboxId) -> PathBuf {
        let door = self.index.pod(pod.as_str());
        let recorded = door
            .ok()
            .and_then(|door| door.view.borrow().pod.shim.as_ref().map(|shim| shim.binary.clone()));
        recorded.unwrap_or_else(|| self.handler_of(pod).shim.clone())
    }

    /// The cgroup of a new pod.
    #[must_use]
    pub fn pod_cgroup(&self, id: &SandboxId, config: &PodConfig) -> PodCgroup {
        if config.cgroup_parent.is_empty() {
            PodCgroup { path: self.cgroups.own_pod(id), owner: CgroupOwner::Crisp }
        } else {
            PodCgroup { path: config.cgroup_parent.clone(), owner: CgroupOwner::Client }
        }
    }

    /// The cgroup that a pod's shim moves itself to.
    #[must_use]
    pub fn shim_cgroup(&self, pod: &PodRecord) -> String {
        match &self.shim_cgroup {
            ShimCgroup::Pod => self.cgroups.shim_path(&pod.cgroup.path, &pod.id),
            ShimCgroup::Path(path) => path.clone(),
        }
    }

    /// A container's cgroup, once it is made.
    #[must_use]
    pub fn cgroup_of(&self, id: &ContainerId) -> Option<String> {
        let (id, door) = self.index.container(id.as_str()).ok()?;
        let view = door.view.borrow().clone();
        Some(view.container(&id)?.made.as_ref()?.cgroup.clone())
    }

    /// Kills whatever runs in a container's cgroup.
    pub async fn kill_by_cgroup(&self, id: &ContainerId) {
        let Some(cgroup) = self.cgroup_of(id) else { return };
        if let Err(error) = self.cgroups.kill(&cgroup).await {
            tracing::warn!(container = %id, %error, "cannot kill by cgroup");
        }
    }

    /// Kills a shim that does not end by itself.
    pub async fn kill_shim(&self, shim: &ShimRecord) {
        let Some(pid) = Pid::from_raw(shim.pid.cast_signed()) else { return };
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        // The pid may be another process by now: only the shim's own binary is killed.
        let exe = std::fs::read_link(format!("/proc/{}/exe", shim.pid));
        let same = exe.is_ok_and(|exe| exe.file_name() == shim.binary.file_name());
        if same && pidfd_send_signal(&process, Signal::KILL).is_ok() {
            // A pidfd becomes readable when its process has ended; a killed one soon does.
            let ended = tokio::task::spawn_blocking(move || {
                let patience = Timespec { tv_sec: 2, tv_nsec: 0 };
                poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&patience))
            });
            let _ = ended.await;
        }
    }
}
