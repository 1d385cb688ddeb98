// SPDX-License-Identifier: Apache-2.0

use std::{
    fmt,
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

/// What can go wrong with a container's streams.
#[derive(Debug, thiserror::Error)]
pub enum IoError {
    /// The log file's directory is not there; whoever asked for the log has to make it.
    #[error("log directory {} does not exist", directory.display())]
    NoLogDirectory {
        /// The missing directory.
        directory: PathBuf,
    },
    /// The log file cannot be opened.
    #[error("cannot open log file {}", path.display())]
    Log {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A pipe, file or socket of a stream cannot be made or opened.
    #[error("cannot use {what} {}", path.display())]
    Stream {
        /// What it is.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The OCI runtime did not hand over the terminal.
    #[error("no terminal came over {} within {after:?}", path.display())]
    NoConsole {
        /// The socket it should have come over.
        path: PathBuf,
        /// How long was waited.
        after: Duration,
    },
    /// What came over the console socket is no terminal.
    #[error("what came over {} is no terminal", path.display())]
    BadConsole {
        /// The socket.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// The container has no terminal to resize or to receive.
    #[error("the container has no terminal")]
    NoTerminal,
    /// None of the streams asked for can be attached to.
    #[error("the container has none of the streams to attach to: {0}")]
    NotAttachable(String),
}

impl IoError {
    pub(super) fn stream(what: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Stream { what, path: path.into(), source }
    }
}

/// Tells the shim's log what nobody waits for. A log that is gone is no reason to stop.
pub(crate) fn complain(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{text}");
}
