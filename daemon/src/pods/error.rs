// SPDX-License-Identifier: Apache-2.0
//! Why a request on a pod or a container was refused or failed.

use std::{fmt, io, sync::Arc, time::Duration};

use crisp_words::{ContainerId, SandboxId};

/// Why a request on a pod or container was refused or failed. Shared by all who wait for the
/// same answer, hence cheap to clone.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PodError {
    /// No such sandbox.
    #[error("pod sandbox {0} not found")]
    NoPod(String),
    /// No such container.
    #[error("container {0} not found")]
    NoContainer(String),
    /// The prefix of an id fits several things.
    #[error("id prefix {0:?} is ambiguous")]
    Ambiguous(String),
    /// A sandbox with this metadata exists.
    #[error("pod sandbox {name} is reserved for {id}")]
    PodExists {
        /// `namespace/name(uid) attempt N`.
        name: String,
        /// The sandbox that has it.
        id: SandboxId,
    },
    /// A container with this name and attempt exists in the pod.
    #[error("container {name} attempt {attempt} exists in the pod as {id}")]
    ContainerExists {
        /// Container name.
        name: String,
        /// Attempt.
        attempt: u32,
        /// The container that has it.
        id: ContainerId,
    },
    /// The pod cannot do this in its present state.
    #[error("pod sandbox {id} is {state}; {wanted}")]
    PodState {
        /// The sandbox.
        id: SandboxId,
        /// Its state.
        state: &'static str,
        /// What the request needs.
        wanted: &'static str,
    },
    /// The container cannot do this in its present state.
    #[error("container {id} is {state}; {wanted}")]
    ContainerState {
        /// The container.
        id: ContainerId,
        /// Its state.
        state: &'static str,
        /// What the request needs.
        wanted: &'static str,
    },
    /// Unknown runtime handler.
    #[error("runtime handler {0:?} is not configured")]
    NoHandler(String),
    /// The request is wrong in itself.
    #[error("{0}")]
    Invalid(String),
    /// A step failed.
    #[error("{step}: {fault}")]
    Step {
        /// The step, naming its object.
        step: String,
        /// Why.
        fault: Fault,
    },
    /// A step did not end in time.
    #[error("{step} did not end within {limit:?}")]
    Deadline {
        /// The step, naming its object.
        step: String,
        /// Its limit.
        limit: Duration,
    },
    /// The pod's task is gone: the daemon is shutting down.
    #[error("the daemon is shutting down")]
    ShuttingDown,
}

/// What kind of failure a step's error was, kept for the gRPC code, and its cause.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Kind.
    pub kind: FaultKind,
    cause: Arc<dyn std::error::Error + Send + Sync>,
}

/// Kinds of failure that a client can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The request asks for something impossible.
    Invalid,
    /// Something named does not exist.
    NotFound,
    /// Recursive read-only mounts are not supported.
    RroUnsupported,
    /// An image volume cannot be mounted.
    ImageVolume,
    /// An NRI plugin does not allow it.
    Denied,
    /// Something is not reachable for now.
    Unavailable,
    /// A program that a shim waited for did not end in time.
    Deadline,
    /// A file system or a quota is full.
    DiskFull,
    /// The host or a program failed.
    Internal,
}

impl Fault {
    /// A failure of `kind` caused by `cause`.
    pub fn new(
        kind: FaultKind,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let cause: Arc<dyn std::error::Error + Send + Sync> = Arc::from(cause.into());
        let full = kind == FaultKind::Internal && is_disk_full(&*cause);
        Self { kind: if full { FaultKind::DiskFull } else { kind }, cause }
    }
}

/// Whether a full file system is the cause: as an error of a call of ours, or in the words of a
/// shim or an OCI runtime.
fn is_disk_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let full = error.downcast_ref::<io::Error>().is_some_and(|error| {
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        });
        if full || error.to_string().to_lowercase().contains("no space left on device") {
            return true;
        }
        next = error.source();
    }
    false
}

impl fmt::Display for Fault {
    /// The cause and its causes, outermost first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        let mut said = self.cause.to_string();
        let mut next = self.cause.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            // Errors that print their source themselves are not printed twice.
            if !said.ends_with(&text) {
                write!(f, ": {text}")?;
            }
            said = text;
            next = cause.source();
        }
        Ok(())
    }
}

impl PodError {
    /// A failed step.
    pub fn step(
        step: impl Into<String>,
        kind: FaultKind,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Step { step: step.into(), fault: Fault::new(kind, cause) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let kind = |cause: io::Error| Fault::new(FaultKind::Internal, cause).kind;
        assert_eq!(kind(io::ErrorKind::StorageFull.into()), FaultKind::DiskFull);
        let said = "runc: write /x: no space left on device";
        assert_eq!(kind(io::Error::other(said)), FaultKind::DiskFull);
        assert_eq!(kind(io::ErrorKind::PermissionDenied.into()), FaultKind::Internal);
        let invalid = Fault::new(FaultKind::Invalid, io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(invalid.kind, FaultKind::Invalid);
    }
}
