// SPDX-License-Identifier: Apache-2.0

use std::{io, path::PathBuf, time::Duration};

use ttrpc::Code;

/// What can go wrong between the daemon and a shim. `shim` is the address or the binary of the
/// shim, `call` the service method or the command-line verb.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ShimError {
    /// The shim does not know the container, exec or sandbox.
    #[error("{call} on shim {shim}: not found: {text}")]
    NotFound {
        /// Which shim.
        shim: String,
        /// Which method.
        call: String,
        /// What the shim said.
        text: String,
    },
    /// The shim already has an object of that id.
    #[error("{call} on shim {shim}: already exists: {text}")]
    AlreadyExists {
        /// Which shim.
        shim: String,
        /// Which method.
        call: String,
        /// What the shim said.
        text: String,
    },
    /// The shim does not serve the method or the whole service.
    #[error("{call} on shim {shim}: not implemented: {text}")]
    Unimplemented {
        /// Which shim.
        shim: String,
        /// Which method.
        call: String,
        /// What the shim said.
        text: String,
    },
    /// No answer in time. The shim may still carry the call out.
    #[error("{call} on shim {shim}: no answer within {after:?}")]
    Deadline {
        /// Which shim.
        shim: String,
        /// Which method or verb.
        call: String,
        /// How long was waited.
        after: Duration,
    },
    /// The connection could not be made or broke before the answer came.
    #[error("{call} on shim {shim}: shim is gone: {text}")]
    Dead {
        /// Which shim.
        shim: String,
        /// Which method.
        call: String,
        /// What broke.
        text: String,
    },
    /// The shim answered with any other status.
    #[error("{call} on shim {shim}: {code:?}: {text}")]
    Refused {
        /// Which shim.
        shim: String,
        /// Which method.
        call: String,
        /// gRPC code of the answer.
        code: Code,
        /// What the shim said.
        text: String,
    },
    /// The shim answered with something that cannot be read.
    #[error("{call} on shim {shim}: answer makes no sense: {text}")]
    Malformed {
        /// Which shim.
        shim: String,
        /// Which method or verb.
        call: String,
        /// What is wrong with it.
        text: String,
    },
    /// The shim binary could not be run at all.
    #[error("cannot run shim {}: {source}", binary.display())]
    Spawn {
        /// Path of the binary.
        binary: PathBuf,
        /// What the system said.
        #[source]
        source: std::sync::Arc<io::Error>,
    },
    /// The shim binary ended with an error.
    #[error("shim {} {verb}: {status}: {stderr}", binary.display())]
    Exit {
        /// Path of the binary.
        binary: PathBuf,
        /// `start` or `delete`.
        verb: &'static str,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of what it wrote to its standard error (or output, where that is all it said).
        stderr: String,
    },
    /// A file that belongs to the shim's bundle could not be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::sync::Arc<io::Error>,
    },
}

impl ShimError {
    /// Whether the object asked for is not there, which is success for a kill or a delete.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether the shim's connection is gone, so that its containers need a new one or a burial.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        matches!(self, Self::Dead { .. })
    }

    /// Whether the shim found fault with what it was asked for.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        matches!(self, Self::Refused { code: Code::INVALID_ARGUMENT, .. })
    }

    /// Whether the shim refused because of where the thing is in its life.
    #[must_use]
    pub fn is_precondition(&self) -> bool {
        matches!(self, Self::Refused { code: Code::FAILED_PRECONDITION, .. })
    }

    /// Whether what the shim waited for, such as its OCI runtime, did not end in time.
    #[must_use]
    pub fn is_late(&self) -> bool {
        matches!(self, Self::Refused { code: Code::DEADLINE_EXCEEDED, .. })
    }

    pub(super) fn file(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File { path: path.into(), source: source.into() }
    }

    pub(super) fn malformed(shim: &str, call: &str, text: impl ToString) -> Self {
        Self::Malformed { shim: shim.to_owned(), call: call.to_owned(), text: text.to_string() }
    }

    pub(super) fn from_ttrpc(shim: &str, call: &str, error: ttrpc::Error) -> Self {
        let (shim, call) = (shim.to_owned(), call.to_owned());
        let ttrpc::Error::RpcStatus(status) = error else {
            return Self::Dead { shim, call, text: error.to_string() };
        };
        let (code, text) = (status.code(), status.message().to_owned());
        match code {
            Code::NOT_FOUND => Self::NotFound { shim, call, text },
            Code::ALREADY_EXISTS => Self::AlreadyExists { shim, call, text },
            Code::UNIMPLEMENTED => Self::Unimplemented { shim, call, text },
            // Written by ttrpc's Rust server where Go's says UNIMPLEMENTED.
            Code::INVALID_ARGUMENT if text.ends_with("service does not exist") => {
                Self::Unimplemented { shim, call, text }
            }
            _ => Self::Refused { shim, call, code, text },
        }
    }
}
