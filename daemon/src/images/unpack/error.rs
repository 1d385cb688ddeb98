// SPDX-License-Identifier: Apache-2.0

use std::io;

/// Why a layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// An entry asks for what no layer may do.
    #[error("entry {name:?}: {reason}")]
    Refused {
        /// Name in the archive.
        name: String,
        /// Which rule it breaks.
        reason: String,
    },
    /// The archive is bigger than the node allows.
    #[error("the layer has more than {limit} {what}")]
    TooBig {
        /// The most allowed.
        limit: u64,
        /// Of what.
        what: &'static str,
    },
    /// The bytes are not a tar archive, or not well compressed, or end too early.
    #[error("the archive is unreadable: {0}")]
    Unreadable(#[source] io::Error),
    /// The host failed.
    #[error("cannot {what} {name:?}: {source}")]
    Host {
        /// The verb.
        what: &'static str,
        /// Name in the archive.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl UnpackError {
    pub(super) fn refused(name: &[u8], reason: impl Into<String>) -> Self {
        Self::Refused { name: lossy(name), reason: reason.into() }
    }

    pub(super) fn host<E: Into<io::Error>>(
        what: &'static str,
        name: &[u8],
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Host { what, name: lossy(name), source: source.into() }
    }

    /// The host's error, if that is the cause.
    pub(crate) fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Host { source, .. } => Some(source),
            _ => None,
        }
    }
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
