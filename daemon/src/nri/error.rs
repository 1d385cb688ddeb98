// SPDX-License-Identifier: Apache-2.0

use std::{io, path::PathBuf, time::Duration};

use super::frame::FrameError;

/// Why something with a plugin failed. Each names the plugin.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NriError {
    /// The plugin answered with an error: it denies what it was asked about.
    #[error("NRI plugin {plugin} refused {call}: {message}")]
    Refused {
        /// `INDEX-NAME`.
        plugin: String,
        /// The call.
        call: &'static str,
        /// The plugin's words.
        message: String,
    },
    /// The plugin does not know the call.
    #[error("NRI plugin {plugin} does not know {call}")]
    Unknown {
        /// `INDEX-NAME`.
        plugin: String,
        /// The call.
        call: &'static str,
    },
    /// The plugin did not answer in time.
    #[error("NRI plugin {plugin} did not answer {call} within {after:?}")]
    Deadline {
        /// `INDEX-NAME`.
        plugin: String,
        /// The call.
        call: &'static str,
        /// How long it had.
        after: Duration,
    },
    /// The connection is gone.
    #[error("NRI plugin {plugin} is gone: {cause}")]
    Gone {
        /// `INDEX-NAME`.
        plugin: String,
        /// Why.
        cause: String,
    },
    /// What the plugin said makes no sense.
    #[error("NRI plugin {plugin}: {call}: {cause}")]
    Malformed {
        /// `INDEX-NAME`.
        plugin: String,
        /// The call.
        call: &'static str,
        /// What is wrong.
        cause: String,
    },
    /// A message does not fit into a frame.
    #[error("message for NRI plugin {plugin}: {source}")]
    TooLong {
        /// `INDEX-NAME`.
        plugin: String,
        /// How long it is.
        #[source]
        source: FrameError,
    },
    /// Two plugins want different things.
    #[error("NRI plugins {first} and {second} both set {what}")]
    Conflict {
        /// Who came first.
        first: String,
        /// Who came second.
        second: String,
        /// The field, with its entry.
        what: String,
    },
    /// A plugin asked for something that cannot be.
    #[error("NRI plugin {plugin} asked for {what}")]
    Impossible {
        /// `INDEX-NAME`.
        plugin: String,
        /// What, and why not.
        what: String,
    },
}

impl NriError {
    /// Whether the plugin is of no use any more. Its words (a refusal) are not such an error.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Deadline { .. } | Self::Gone { .. } | Self::Malformed { .. })
    }
}

/// Why the room cannot be opened, or a plugin not started.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The socket.
    #[error("NRI socket {path}")]
    Socket {
        /// Where.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The directory of plugins, or a file in it.
    #[error("NRI plugins in {path}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
}

/// A name or an index that no plugin may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not two digits.
    #[error("plugin index {0:?} is not two digits")]
    Index(String),
    /// Empty, or with a character that is not allowed.
    #[error("plugin name {0:?} is not made of letters, digits, '-', '_', '.' and '+'")]
    Name(String),
}
