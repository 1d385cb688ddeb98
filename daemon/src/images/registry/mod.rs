// SPDX-License-Identifier: Apache-2.0
//! The registry's HTTP interface (OCI distribution-spec 1.1), from the puller's side.
//!
//! Connections are shared by all pulls. Credentials and tokens are not: they live in the
//! [`Session`] of one pull and die with it, so no pull can profit from another's rights.

mod auth;
mod backoff;
mod blob;
mod challenge;
mod connect;
mod session;

pub use auth::{AuthFields, Credentials};
pub(crate) use blob::BlobStream;
pub(crate) use connect::Connections;
pub(crate) use session::Session;

use std::time::Duration;

/// Deadlines and patience towards registries.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a connection to stand.
    pub connect: Duration,
    /// For an answer's head, and between two pieces of its body.
    pub silence: Duration,
    /// Tries of one request, or of one stretch of a blob without progress.
    pub tries: u32,
    /// Wait after the first failed try; it doubles each time.
    pub first_wait: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            tries: 5,
            first_wait: Duration::from_millis(250),
        }
    }
}
