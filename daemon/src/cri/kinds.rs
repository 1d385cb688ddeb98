// SPDX-License-Identifier: Apache-2.0
//! What each room's errors mean to a client.

use super::status::{Classify, Kind};
use crate::{
    images::ImageError,
    pods::error::{FaultKind, PodError},
    stats::StatsError,
};

impl Classify for PodError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoPod(_) | Self::NoContainer(_) => Kind::NotFound,
            Self::Ambiguous(_) | Self::NoHandler(_) | Self::Invalid(_) => Kind::Invalid,
            Self::PodExists { .. } | Self::ContainerExists { .. } => Kind::AlreadyExists,
            Self::PodState { .. } | Self::ContainerState { .. } => Kind::FailedPrecondition,
            Self::Step { fault, .. } => match fault.kind {
                FaultKind::Invalid => Kind::Invalid,
                FaultKind::NotFound => Kind::NotFound,
                FaultKind::RroUnsupported => Kind::RroUnsupported,
                FaultKind::ImageVolume => Kind::ImageVolumeMountFailed,
                FaultKind::Denied => Kind::Denied,
                FaultKind::Unavailable => Kind::Unavailable,
                FaultKind::Deadline => Kind::Deadline,
                FaultKind::DiskFull => Kind::Exhausted,
                FaultKind::Internal => Kind::Internal,
            },
            Self::Deadline { .. } => Kind::Deadline,
            Self::ShuttingDown => Kind::Unavailable,
        }
    }
}

impl Classify for ImageError {
    fn kind(&self) -> Kind {
        match self {
            Self::Pull { source, .. } => source.kind(),
            error if error.is_disk_full() => Kind::Exhausted,
            Self::InvalidReference { .. } | Self::Ambiguous { .. } | Self::SubPath { .. } => {
                Kind::Invalid
            }
            Self::NotStored { .. } | Self::NotFound { .. } => Kind::NotFound,
            Self::Unauthorized { .. } | Self::Blocked { .. } => Kind::Denied,
            Self::Unavailable { .. } => Kind::RegistryUnavailable,
            Self::Unsupported { .. } | Self::Config { .. } | Self::Kernel { .. } => {
                Kind::FailedPrecondition
            }
            Self::BadAnswer { .. }
            | Self::Corrupt { .. }
            | Self::Unpack { .. }
            | Self::Host { .. } => Kind::Internal,
            Self::Abandoned { .. } => Kind::Cancelled,
        }
    }
}

impl Classify for StatsError {
    fn kind(&self) -> Kind {
        Kind::Internal
    }
}
