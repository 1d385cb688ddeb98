// SPDX-License-Identifier: Apache-2.0
//! The one place where an error becomes a gRPC status. A room's error says through [`Classify`]
//! which kind it is; code, prefix and text follow from that.

use std::error::Error;

use tonic::{Code, Status};

use super::translate::Invalid;

/// Longest message sent, bytes. It travels in a header, and clients limit those.
const MESSAGE_MAX: usize = 4096;

/// What an error means to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The thing named is not there.
    NotFound,
    /// Its name is taken.
    AlreadyExists,
    /// The request can never succeed.
    Invalid,
    /// The request cannot succeed in the present state of the thing.
    FailedPrecondition,
    /// Somebody else does not allow it: a registry, a rule of the operator.
    Denied,
    /// Something needed does not answer; the same request may succeed later.
    Unavailable,
    /// It took longer than was allowed.
    Deadline,
    /// Space, ids or another supply has run out.
    Exhausted,
    /// The runtime does not do this.
    Unimplemented,
    /// The client went away.
    Cancelled,
    /// A fault of the host or of crisp.
    Internal,
    /// A pull failed because no registry answered.
    RegistryUnavailable,
    /// A pull failed because no signature satisfied the policy.
    SignatureValidationFailed,
    /// A recursive read-only mount cannot be made here.
    RroUnsupported,
    /// An image could not be mounted as a volume.
    ImageVolumeMountFailed,
}

impl Kind {
    /// The gRPC code. Errors with a well-known prefix carry UNKNOWN: only then do clients strip
    /// the code from the text, so that the kubelet finds the prefix at its start.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::NotFound => Code::NotFound,
            Self::AlreadyExists => Code::AlreadyExists,
            Self::Invalid => Code::InvalidArgument,
            Self::FailedPrecondition => Code::FailedPrecondition,
            Self::Denied => Code::PermissionDenied,
            Self::Unavailable => Code::Unavailable,
            Self::Deadline => Code::DeadlineExceeded,
            Self::Exhausted => Code::ResourceExhausted,
            Self::Unimplemented => Code::Unimplemented,
            Self::Cancelled => Code::Cancelled,
            Self::Internal => Code::Internal,
            Self::RegistryUnavailable
            | Self::SignatureValidationFailed
            | Self::RroUnsupported
            | Self::ImageVolumeMountFailed => Code::Unknown,
        }
    }

    /// The word the kubelet looks for at the start of the text.
    #[must_use]
    pub fn prefix(self) -> Option<&'static str> {
        match self {
            Self::RegistryUnavailable => Some("RegistryUnavailable"),
            Self::SignatureValidationFailed => Some("SignatureValidationFailed"),
            Self::RroUnsupported => Some("RROUnsupported"),
            Self::ImageVolumeMountFailed => Some("ImageVolumeMountFailed"),
            _ => None,
        }
    }
}

/// An error that knows what it means to a client.
pub trait Classify: Error {
    /// Its kind.
    fn kind(&self) -> Kind;
}

impl Classify for Invalid {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

/// The status for `error`: its own text and those of its causes.
#[must_use]
pub fn to_status(error: &impl Classify) -> Status {
    fault(error.kind(), &chain(error))
}

/// [`to_status`] by value, for `map_err`.
pub fn refuse<E: Classify>(error: E) -> Status {
    to_status(&error)
}

/// A status of `kind` for what has no error of its own.
#[must_use]
pub fn fault(kind: Kind, text: &str) -> Status {
    let mut message = match kind.prefix() {
        Some(prefix) => format!("{prefix}: {text}"),
        None => text.to_owned(),
    };
    if message.len() > MESSAGE_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_MAX - 3));
        message.push_str("...");
    }
    Status::new(kind.code(), message)
}

/// Something of kind `what` with the id `id` does not exist.
#[must_use]
pub fn not_found(what: &str, id: &str) -> Status {
    fault(Kind::NotFound, &format!("no {what} {id:?}"))
}

/// A method that is not served.
#[must_use]
pub fn unimplemented(method: &str) -> Status {
    fault(Kind::Unimplemented, &format!("{method} is not implemented"))
}

/// The text of `error` and of its causes, joined by colons. A cause that the text above it
/// already ends with is not repeated.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Pull {
        #[error("image {0}")]
        Registry(&'static str, #[source] io::Error),
        #[error("cannot: {0}")]
        Wrapped(#[source] io::Error),
    }

    impl Classify for Pull {
        fn kind(&self) -> Kind {
            match self {
                Self::Registry(..) => Kind::RegistryUnavailable,
                Self::Wrapped(_) => Kind::Unavailable,
            }
        }
    }

    #[test]
    fn a_well_known_prefix_comes_first_and_its_code_is_unknown() {
        let status = to_status(&Pull::Registry("a/b:1", io::Error::other("refused")));
        assert_eq!(status.code(), Code::Unknown);
        assert_eq!(status.message(), "RegistryUnavailable: image a/b:1: refused");
    }

    #[test]
    fn a_cause_is_not_told_twice() {
        let status = to_status(&Pull::Wrapped(io::Error::other("no route")));
        assert_eq!(status.message(), "cannot: no route");
    }

    #[test]
    fn a_bad_field_is_an_invalid_argument() {
        let status = to_status(&Invalid::new("config.x", "is missing"));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "config.x: is missing");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let status = fault(Kind::Internal, &"\u{e9}".repeat(5000));
        assert!(status.message().len() <= MESSAGE_MAX);
        assert!(status.message().ends_with("\u{e9}..."));
    }
}
