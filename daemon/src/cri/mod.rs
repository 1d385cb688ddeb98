// SPDX-License-Identifier: Apache-2.0
//! CRI at the edge: requests in, domain calls, answers out. Translation only; the domain never
//! sees a wire type, and gRPC codes are made nowhere else.

pub mod chunks;
mod containers;
pub mod events;
mod exec;
mod image_service;
mod images;
mod info;
mod kinds;
pub mod limits;
mod lists;
mod metrics;
mod pods;
pub mod report;
mod runtime_service;
mod show_container;
mod show_pod;
mod stats;
pub mod status;
pub mod translate;

use tokio::sync::watch;

use crate::{config::Config, pods::node::Node, sessions::Sessions, stats::Collector};

/// Both services of a node. Clones share it.
#[derive(Clone)]
pub struct Cri {
    node: Node,
    stats: Collector,
    sessions: Sessions,
    closing: watch::Sender<bool>,
}

impl Cri {
    /// Services of `node`, with usage as read by `stats`; clients of `sessions` reach its
    /// containers, those of an earlier daemon included.
    #[must_use]
    pub fn new(node: Node, stats: Collector, sessions: Sessions) -> Self {
        sessions.adopt(&node.context);
        Self { node, stats, sessions, closing: watch::Sender::new(false) }
    }

    /// Takes from `config` what may change while the daemon runs: which images are pinned.
    pub fn follow(&self, config: &Config) {
        self.node.context.images.set_pinned(config.image.pinned_images.clone());
    }

    /// Ends streams that have no end of their own, so that the daemon can.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }
}
