// SPDX-License-Identifier: Apache-2.0

use std::{io, path::Path, sync::Arc};

use super::{digest::Digest, unpack::UnpackError};

/// What can go wrong with images and root filesystems.
///
/// The enum can be cloned because parallel pulls share work, and so share its failure.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ImageError {
    /// The text names no image.
    #[error("invalid image reference {reference:?}: {reason}")]
    InvalidReference {
        /// As given.
        reference: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No image on this node goes by that name.
    #[error("image {reference:?} is not on this node")]
    NotStored {
        /// As given.
        reference: String,
    },
    /// An id prefix fits more than one image.
    #[error("image id {prefix:?} is ambiguous: {count} images begin with it")]
    Ambiguous {
        /// As given.
        prefix: String,
        /// How many fit.
        count: usize,
    },
    /// A pull failed.
    #[error("pull {reference}: {source}")]
    Pull {
        /// As requested; the cause may name a mirror.
        reference: String,
        /// Why.
        source: Box<ImageError>,
    },
    /// The registry answered that it has no such thing.
    #[error("{what} not found at registry {registry}")]
    NotFound {
        /// Host asked.
        registry: String,
        /// Reference or digest asked for.
        what: String,
    },
    /// The registry refused the credentials, or asked for some.
    #[error("registry {registry} refuses access to {what}: {reason}")]
    Unauthorized {
        /// Host asked.
        registry: String,
        /// Reference or digest asked for.
        what: String,
        /// The registry's words. Never a credential.
        reason: String,
    },
    /// The registry cannot be reached, or keeps failing.
    #[error("registry {registry} is unavailable: {reason}")]
    Unavailable {
        /// Host asked.
        registry: String,
        /// What was tried and how it failed.
        reason: String,
    },
    /// registries.conf forbids this registry.
    #[error("registry {registry} is blocked by {by}")]
    Blocked {
        /// The prefix that is blocked.
        registry: String,
        /// The file with the rule.
        by: String,
    },
    /// The registry said something that breaks the distribution spec.
    #[error("registry {registry} answered wrongly for {what}: {reason}")]
    BadAnswer {
        /// Host asked.
        registry: String,
        /// Reference or digest asked for.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// Bytes are not the ones their digest names.
    #[error("{what} is corrupt: expected {expected}, got {actual}")]
    Corrupt {
        /// Which bytes.
        what: String,
        /// The digest they were named by.
        expected: Digest,
        /// The digest they have.
        actual: Digest,
    },
    /// The image is well formed but not of a kind this node can run.
    #[error("image {reference} is not supported: {reason}")]
    Unsupported {
        /// The image.
        reference: String,
        /// Why not.
        reason: String,
    },
    /// A layer cannot be unpacked.
    #[error("cannot unpack layer {layer}: {source}")]
    Unpack {
        /// Digest of the layer's blob.
        layer: Digest,
        /// Which entry, and why.
        #[source]
        source: Arc<UnpackError>,
    },
    /// A configuration file cannot be used.
    #[error("{path}: {reason}")]
    Config {
        /// The file.
        path: String,
        /// What is wrong in it.
        reason: String,
    },
    /// A path inside an image does not exist or is not usable.
    #[error("image {image} has no usable path {path:?}: {reason}")]
    SubPath {
        /// The image's id.
        image: String,
        /// As asked for.
        path: String,
        /// Why not.
        reason: String,
    },
    /// The kernel lacks something that was asked for.
    #[error("this kernel cannot do {what}: {reason}")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// How it failed.
        reason: String,
    },
    /// The host failed us: a file, a mount, a full disk.
    #[error("cannot {what} {path}: {source}")]
    Host {
        /// The verb.
        what: &'static str,
        /// The thing.
        path: String,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// The work was dropped before it ended, by whoever led it.
    #[error("work on {what} was abandoned")]
    Abandoned {
        /// On what.
        what: String,
    },
}

impl ImageError {
    /// Names the step and path of a failed system call.
    pub(crate) fn host(
        what: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().display().to_string();
        move |source| Self::Host { what, path, source: Arc::new(source) }
    }

    /// Whether the cause is a full disk or quota.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        let full = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        };
        match self {
            Self::Host { source, .. } => full(source),
            Self::Unpack { source, .. } => source.io().is_some_and(full),
            _ => false,
        }
    }

    /// Why a pull failed, without the words about which pull it was.
    #[must_use]
    pub fn cause(&self) -> &Self {
        match self {
            Self::Pull { source, .. } => source.cause(),
            other => other,
        }
    }
}
