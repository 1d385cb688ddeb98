// SPDX-License-Identifier: Apache-2.0
//! What a client asked a container to be, in the domain's own terms. Kept in the container's
//! record and echoed back in status and lists.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::pods::spec::{
    IdMapping, Namespaces, Pairs, Privilege, Resources, SecurityProfile, SelinuxLabel,
};

/// A container as requested. CRI's `ContainerConfig` after validation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// What identifies the container within its pod.
    pub metadata: ContainerMetadata,
    /// The image to run.
    pub image: ImageRequest,
    /// Replaces the image's entrypoint when not empty.
    pub command: Vec<String>,
    /// Replaces the image's command when not empty.
    pub args: Vec<String>,
    /// Working directory; empty for the image's, else `/`.
    pub working_dir: String,
    /// Environment; values are bytes. Overrides the image's by key.
    pub envs: Vec<(String, Vec<u8>)>,
    /// Mounts, in order.
    pub mounts: Vec<Mount>,
    /// Devices.
    pub devices: Vec<Device>,
    /// Fully qualified CDI names (`vendor/class=name`).
    pub cdi_devices: Vec<String>,
    /// Labels.
    pub labels: Pairs,
    /// Annotations.
    pub annotations: Pairs,
    /// Path of the log file, relative to the pod's log directory; empty for none.
    pub log_path: String,
    /// What the container's standard input is.
    pub stdin: Stdin,
    /// Whether the container has a terminal.
    pub terminal: Terminal,
    /// Resource limits.
    pub resources: Resources,
    /// Security settings.
    pub security: SecurityContext,
    /// Signal that asks the container to stop, as a Linux signal number; `None` for the image's,
    /// else SIGTERM.
    pub stop_signal: Option<i32>,
}

/// CRI's `ContainerMetadata`: unique within a sandbox's life.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct ContainerMetadata {
    /// Container name.
    pub name: String,
    /// Number of the attempt.
    pub attempt: u32,
}

/// CRI's `ImageSpec` in a request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageRequest {
    /// Id, tag, digest or short form.
    pub image: String,
    /// Annotations of the image spec.
    pub annotations: Pairs,
    /// What the user wrote, for display.
    pub user_specified_image: String,
    /// Handler the image is meant for.
    pub runtime_handler: String,
}

/// Standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Stdin {
    /// The null device.
    #[default]
    Null,
    /// Open for as long as the container lives.
    Open,
    /// Closed when the first attach with input ends.
    Once,
}

/// Whether standard streams are a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Terminal {
    /// Pipes.
    #[default]
    None,
    /// A pseudo-terminal.
    Tty,
}

/// One mount of a container, as requested; echoed unchanged in status.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mount {
    /// Where in the container.
    pub container_path: PathBuf,
    /// What to mount there.
    pub source: MountSource,
    /// How writable it is.
    pub access: MountAccess,
    /// Whether the source gets the container's SELinux label.
    pub selinux: SelinuxRelabel,
    /// Propagation.
    pub propagation: Propagation,
    /// Mapping of user ids for an idmapped mount.
    pub uid_mappings: Vec<IdMapping>,
    /// Mapping of group ids for an idmapped mount.
    pub gid_mappings: Vec<IdMapping>,
    /// Extra options: `noexec`, `nodev`, `nosuid`.
    pub options: Vec<String>,
}

/// Source of a mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A path on the host; symbolic links are followed.
    Host(PathBuf),
    /// An image's root, or a path in it; always read-only.
    Image {
        /// The image.
        image: ImageRequest,
        /// Path below the image's root; empty for the root.
        sub_path: String,
    },
}

impl Default for MountSource {
    fn default() -> Self {
        Self::Host(PathBuf::new())
    }
}

/// How writable a mount is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum MountAccess {
    /// Read and write.
    #[default]
    ReadWrite,
    /// Read only; mounts below it stay as they are.
    ReadOnly,
    /// Read only, and so is every mount below it.
    RecursiveReadOnly,
}

/// Whether a mount's source is given the container's SELinux label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SelinuxRelabel {
    /// Left alone.
    #[default]
    Keep,
    /// Relabelled, where SELinux is on.
    Relabel,
}

/// Mount propagation, CRI's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Propagation {
    /// `rprivate`.
    #[default]
    Private,
    /// `rslave`.
    HostToContainer,
    /// `rshared`.
    Bidirectional,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Device {
    /// Path in the container.
    pub container_path: PathBuf,
    /// Path on the host: a device, or a directory of devices.
    pub host_path: PathBuf,
    /// Subset of `rwm`.
    pub permissions: String,
}

/// Who the first process is. Name and uid are never both given.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum RunAs {
    /// The image's user, else root.
    #[default]
    Image,
    /// A uid, and possibly a gid.
    Uid {
        /// User id.
        uid: u32,
        /// Group id; `None` for the user's primary group.
        gid: Option<u32>,
    },
    /// A name that the image's passwd file must hold.
    Name {
        /// User name.
        name: String,
        /// Group id; `None` for the user's primary group.
        gid: Option<u32>,
    },
}

/// Which groups the first process gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum GroupsPolicy {
    /// Those requested and those the image's group file gives the user.
    #[default]
    Merge,
    /// Those requested only.
    Strict,
}

/// CRI's `LinuxContainerSecurityContext`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SecurityContext {
    /// Capabilities to add (permitted, inheritable, effective, bounding); no `CAP_`, or `ALL`.
    pub add_capabilities: Vec<String>,
    /// Capabilities to drop from all sets.
    pub drop_capabilities: Vec<String>,
    /// Capabilities to add to all sets, ambient too.
    pub add_ambient_capabilities: Vec<String>,
    /// Whether the container is privileged.
    pub privilege: Privilege,
    /// Namespaces; the user part repeats the pod's.
    pub namespaces: Namespaces,
    /// SELinux label.
    pub selinux: Option<SelinuxLabel>,
    /// User and group.
    pub run_as: RunAs,
    /// Supplemental groups.
    pub supplemental_groups: Vec<u32>,
    /// How groups of the image are treated.
    pub groups_policy: GroupsPolicy,
    /// Whether the root filesystem may be written.
    pub rootfs: RootfsAccess,
    /// Whether `execve` may grant new privileges.
    pub new_privileges: NewPrivileges,
    /// Paths hidden in the container.
    pub masked_paths: Vec<String>,
    /// Paths read-only in the container.
    pub readonly_paths: Vec<String>,
    /// Seccomp profile.
    pub seccomp: SecurityProfile,
    /// AppArmor profile.
    pub apparmor: SecurityProfile,
}

/// Whether the root filesystem may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum RootfsAccess {
    /// Read and write.
    #[default]
    ReadWrite,
    /// Read only.
    ReadOnly,
}

/// Whether `execve` may grant privileges the caller does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum NewPrivileges {
    /// Allowed.
    #[default]
    Allowed,
    /// Denied (`no_new_privs`).
    Denied,
}
