// SPDX-License-Identifier: Apache-2.0

use std::io;

use crate::pods::error::PodError;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The pod or container does not allow it.
    #[error(transparent)]
    Pod(#[from] PodError),
    /// The request contradicts itself.
    #[error("{0}")]
    Invalid(String),
    /// Too many sessions are open.
    #[error("{0} sessions are open; no more are allowed")]
    Exhausted(usize),
    /// No socket for clients.
    #[error("cannot listen on {address} for the session's client: {source}")]
    Listen {
        /// Address and ports tried.
        address: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The session's process cannot be started.
    #[error("cannot start the session's process: {0}")]
    Start(#[from] io::Error),
}
