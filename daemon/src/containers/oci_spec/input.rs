// SPDX-License-Identifier: Apache-2.0
//! All that a container's spec is made from.

use std::path::{Path, PathBuf};

use crisp_runtimes::preset::AnnotationStyle;
use crisp_words::SandboxId;
use oci_spec::runtime::LinuxSeccomp;
use serde::{Deserialize, Serialize};

use super::seccomp::SeccompArches;
use crate::{
    containers::{
        capabilities::CapabilitySet,
        cdi::CdiEdits,
        devices::ResolvedDevice,
        host::{HostFacts, Support},
        spec::{ContainerConfig, Mount},
        users::ResolvedUser,
    },
    pods::spec::{Pairs, PodConfig, Privilege, Sharing},
};

/// Everything [`super::generate`] looks at. Names are resolved, files are read: nothing below
/// depends on anything else.
#[derive(Debug, Clone)]
pub struct SpecInput<'a> {
    /// The pod as requested.
    pub pod: &'a PodConfig,
    /// The pod's id.
    pub pod_id: &'a SandboxId,
    /// The container as requested.
    pub container: &'a ContainerConfig,
    /// What the image says of how to run it.
    pub image: &'a ImageDefaults,
    /// The first process's ids.
    pub user: &'a ResolvedUser,
    /// The host.
    pub host: &'a HostFacts,
    /// The OCI runtime.
    pub runtime: &'a RuntimeAbilities,
    /// What the operator chose for the handler.
    pub policy: &'a HandlerPolicy,
    /// Where the pod's namespaces are.
    pub namespaces: &'a PodNamespaces,
    /// PID namespace of the container that the request targets: `/proc/PID/ns/pid`.
    pub target_pid_namespace: Option<&'a Path>,
    /// Host name that programs in the container see: the pod's, or the host's with host
    /// networking.
    pub hostname: &'a str,
    /// Files the pod gives to all its containers.
    pub pod_files: &'a PodFiles,
    /// Where the root filesystem is mounted on the host.
    pub rootfs: &'a Path,
    /// The container's cgroup in the form the cgroup driver wants.
    pub cgroups_path: &'a str,
    /// The request's mounts with their sources, in the request's order.
    pub mounts: &'a [ResolvedMount<'a>],
    /// The request's devices; directories expanded.
    pub devices: &'a [ResolvedDevice],
    /// All devices of the host, which a privileged container gets; empty for any other.
    pub host_devices: &'a [ResolvedDevice],
    /// What the request's CDI devices add.
    pub cdi: &'a CdiEdits,
    /// The seccomp profile; has no say in a privileged container.
    pub seccomp: &'a SeccompChoice,
    /// Name of the AppArmor profile, known to be loaded; has no say in a privileged container.
    pub apparmor: Option<&'a str>,
    /// Annotations that the handler passes on to its runtime. They are in the spec only: what the
    /// client gave as annotations comes back as it was.
    pub handler_annotations: &'a Pairs,
}

impl SpecInput<'_> {
    /// Whether the container has the daemon's own powers.
    pub(super) fn is_privileged(&self) -> bool {
        self.container.security.privilege == Privilege::Privileged
    }

    /// Whether the container's ids are mapped.
    pub(super) fn has_user_namespace(&self) -> bool {
        self.pod.namespaces.user.is_some()
    }

    /// Whether the container is in the host's network namespace.
    pub(super) fn has_host_network(&self) -> bool {
        self.container.security.namespaces.network == Sharing::Node
    }
}

/// What an image says of how to run it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageDefaults {
    /// Program and first arguments.
    pub entrypoint: Vec<String>,
    /// Further arguments, or the program when there is no entrypoint.
    pub cmd: Vec<String>,
    /// Environment, `NAME=value`.
    pub env: Vec<String>,
    /// Working directory; empty for `/`.
    pub working_dir: String,
    /// User: `user`, `user:group`, names or numbers; empty for root.
    pub user: String,
    /// Signal that asks the container to stop; empty for SIGTERM.
    pub stop_signal: String,
}

/// What the OCI runtime can do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RuntimeAbilities {
    /// Handler's name, for errors.
    pub handler: String,
    /// Newest version of the OCI spec it takes; `None` when it does not tell.
    pub oci_version_max: Option<String>,
    /// Mount option `rro`, and a kernel that has it.
    pub recursive_read_only: Support,
    /// Mounts with id mappings of their own.
    pub idmap_mounts: Support,
}

/// What the operator chose for a handler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandlerPolicy {
    /// Capabilities of a container that asks for nothing.
    pub default_capabilities: CapabilitySet,
    /// Whose programs run under the default seccomp profile.
    pub seccomp_arches: SeccompArches,
    /// By which annotations the handler's shim knows sandboxes and containers.
    #[serde(default)]
    pub annotations: AnnotationStyle,
}

impl Default for HandlerPolicy {
    fn default() -> Self {
        Self {
            default_capabilities: CapabilitySet::container_default(),
            seccomp_arches: SeccompArches::default(),
            annotations: AnnotationStyle::default(),
        }
    }
}

/// Where a pod's namespaces are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodNamespaces {
    /// Files that hold them; containers join.
    Pinned(NamespacePaths),
    /// The shim makes and knows them (sandboxes that are virtual machines): the spec says which
    /// kinds there are and not where.
    KnownToShim,
    /// Those that are there already; the others are made with this container, which holds them
    /// for those to come.
    Begun(NamespacePaths),
}

/// Files that hold a pod's namespaces; `None` for a kind that the pod does not have of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NamespacePaths {
    /// Network.
    pub net: Option<PathBuf>,
    /// IPC.
    pub ipc: Option<PathBuf>,
    /// Host name.
    pub uts: Option<PathBuf>,
    /// Process ids, when shared in the pod.
    pub pid: Option<PathBuf>,
    /// User ids.
    pub user: Option<PathBuf>,
}

/// Files the pod gives to all its containers; `None` leaves the image's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PodFiles {
    /// For `/etc/resolv.conf`.
    pub resolv_conf: Option<PathBuf>,
    /// For `/etc/hostname`.
    pub hostname: Option<PathBuf>,
    /// For `/etc/hosts`.
    pub hosts: Option<PathBuf>,
    /// For `/dev/shm` of a pod with its own IPC namespace; `None` gives each container its own.
    pub shm: Option<PathBuf>,
}

/// A requested mount and where its source is on the host.
#[derive(Debug, Clone)]
pub struct ResolvedMount<'a> {
    /// What was requested.
    pub request: &'a Mount,
    /// The source, symbolic links resolved; for an image, the directory to mount.
    pub source: PathBuf,
}

/// Which seccomp profile a container gets.
#[derive(Debug, Clone, Default)]
pub enum SeccompChoice {
    /// None.
    #[default]
    Unconfined,
    /// crisp's own.
    RuntimeDefault,
    /// One from a file.
    Loaded(Box<LinuxSeccomp>),
}
