// SPDX-License-Identifier: Apache-2.0
//! CRI at the edge: requests in, domain calls, answers out. Translation only; the domain never
//! sees a wire type, and gRPC codes are made nowhere else.

pub mod chunks;
pub mod events;
mod image_service;
mod info;
pub mod limits;
mod runtime_service;
pub mod status;
pub mod translate;

use std::sync::Arc;

use tokio::sync::watch;

/// What both services answer from. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Cri {
    closing: watch::Sender<bool>,
}

impl Cri {
    /// Services of this node.
    #[must_use]
    pub fn new() -> Self {
        Self { closing: watch::Sender::new(false) }
    }

    /// Ends streams that have no end of their own, so that the daemon can.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }
}
