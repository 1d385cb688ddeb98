// SPDX-License-Identifier: Apache-2.0

use std::path::PathBuf;

use oci_spec::OciSpecError;

use crate::containers::{capabilities::UnknownCapability, resources::ResourceError};

/// Why there can be no spec for a container.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// Neither the request nor the image names a program.
    #[error("no command: the request has none and image {image:?} has none")]
    NoCommand {
        /// The image as requested.
        image: String,
    },
    /// The name of an environment variable is empty or holds `=`.
    #[error("{0:?} cannot be the name of an environment variable")]
    EnvName(String),
    /// An OCI spec is JSON, which has no form for bytes that are not UTF-8.
    #[error("environment variable {0:?} is not UTF-8 text, which OCI runtimes need")]
    EnvNotText(String),
    /// A NUL byte, which no argument and no path can hold.
    #[error("{0} holds a NUL byte")]
    Nul(String),
    /// A name that is no capability.
    #[error(transparent)]
    Capability(#[from] UnknownCapability),
    /// A capability that the daemon cannot give because it does not hold it.
    #[error("capability {0} cannot be added: crisp does not hold it on this host")]
    CapabilityNotHeld(String),
    /// A privileged container in a pod that is not.
    #[error("a privileged container needs a privileged pod")]
    PodNotPrivileged,
    /// A mount target that is not an absolute path below the root.
    #[error("mount target {0:?} is not an absolute path below /")]
    MountTarget(PathBuf),
    /// A mount option other than those CRI knows.
    #[error("mount {target:?}: option {option:?} is not one of noexec, nodev, nosuid")]
    MountOption {
        /// Where the mount was to be.
        target: PathBuf,
        /// The option.
        option: String,
    },
    /// Recursive read-only with propagation.
    #[error("mount {0:?}: recursive read-only needs private propagation")]
    RecursiveReadOnlyPropagates(PathBuf),
    /// Recursive read-only on a runtime or kernel without it.
    #[error("mount {target:?}: handler {handler:?} has no recursive read-only mounts")]
    RecursiveReadOnlyUnsupported {
        /// Where the mount was to be.
        target: PathBuf,
        /// The handler.
        handler: String,
    },
    /// Id mappings on a runtime or kernel without them.
    #[error("mount {target:?}: handler {handler:?} has no id-mapped mounts")]
    IdMapUnsupported {
        /// Where the mount was to be.
        target: PathBuf,
        /// The handler.
        handler: String,
    },
    /// Mappings of users without those of groups, or the reverse.
    #[error("mount {0:?}: id mappings need users and groups")]
    IdMapIncomplete(PathBuf),
    /// An image volume that is to be written or shared.
    #[error("mount {0:?}: an image can only be mounted read-only and private")]
    ImageVolume(PathBuf),
    /// A namespace the pod should have and has not.
    #[error("the pod has no {0} namespace to join")]
    NoNamespace(&'static str),
    /// A profile was asked for and the kernel has no seccomp.
    #[error("a seccomp profile was asked for, but this kernel has no seccomp filters")]
    NoSeccomp,
    /// A part of an SELinux label that cannot be one.
    #[error("SELinux {part} {value:?} is not valid")]
    Selinux {
        /// Which part.
        part: &'static str,
        /// Its value.
        value: String,
    },
    /// A resource limit.
    #[error(transparent)]
    Resource(#[from] ResourceError),
    /// The OCI types refused a value of ours.
    #[error("cannot state the OCI spec")]
    Oci(#[from] OciSpecError),
}

/// What a [`SpecError`] means to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecErrorKind {
    /// The request is wrong on any host.
    InvalidArgument,
    /// The request may be right, but this host or handler cannot do it.
    Unsupported,
    /// As [`Self::Unsupported`]; clients know the case by the prefix `RROUnsupported`.
    RroUnsupported,
    /// The image cannot be mounted as asked; clients know the case by the prefix
    /// `ImageVolumeMountFailed`.
    ImageVolume,
    /// Not the client's doing.
    Internal,
}

impl SpecError {
    /// What the error means to the client.
    #[must_use]
    pub fn kind(&self) -> SpecErrorKind {
        match self {
            Self::NoCommand { .. }
            | Self::EnvName(_)
            | Self::EnvNotText(_)
            | Self::Nul(_)
            | Self::Capability(_)
            | Self::PodNotPrivileged
            | Self::MountTarget(_)
            | Self::MountOption { .. }
            | Self::RecursiveReadOnlyPropagates(_)
            | Self::IdMapIncomplete(_)
            | Self::Selinux { .. }
            | Self::Resource(_) => SpecErrorKind::InvalidArgument,
            Self::CapabilityNotHeld(_) | Self::IdMapUnsupported { .. } | Self::NoSeccomp => {
                SpecErrorKind::Unsupported
            }
            Self::RecursiveReadOnlyUnsupported { .. } => SpecErrorKind::RroUnsupported,
            Self::ImageVolume(_) => SpecErrorKind::ImageVolume,
            Self::NoNamespace(_) | Self::Oci(_) => SpecErrorKind::Internal,
        }
    }
}
