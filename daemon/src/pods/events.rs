// SPDX-License-Identifier: Apache-2.0
//! What happened to pods and containers, in the order in which lists and status show it.

use std::sync::Arc;

use crisp_words::ContainerId;
use tokio::sync::broadcast;

use super::{clock, message::PodView};

/// Events kept for a subscriber that does not keep up; one that falls further behind is told so.
const BACKLOG: usize = 1024;

/// Something that happened.
#[derive(Debug, Clone)]
pub struct PodEvent {
    /// What.
    pub kind: EventKind,
    /// To which container; the sandbox's id when it happened to the sandbox.
    pub id: String,
    /// When, nanoseconds since the Unix epoch.
    pub at_ns: i64,
    /// The whole pod right after it.
    pub view: Arc<PodView>,
}

/// Kinds of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Made.
    Created,
    /// Started (a sandbox: ready).
    Started,
    /// Ended (a sandbox: not ready).
    Stopped,
    /// Removed.
    Deleted,
}

/// Where events are told and heard.
#[derive(Debug, Clone)]
pub struct Events(broadcast::Sender<PodEvent>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::channel(BACKLOG).0)
    }
}

impl Events {
    /// Events from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<PodEvent> {
        self.0.subscribe()
    }

    fn tell(&self, kind: EventKind, id: &str, view: &Arc<PodView>) {
        if self.0.receiver_count() > 0 {
            let event =
                PodEvent { kind, id: id.to_owned(), at_ns: clock::now_ns(), view: view.clone() };
            // The last subscriber may leave between the count and here.
            let _ = self.0.send(event);
        }
    }

    /// A container was made.
    pub fn created(&self, id: &ContainerId, view: &Arc<PodView>) {
        self.tell(EventKind::Created, id.as_str(), view);
    }

    /// A container was started.
    pub fn started(&self, id: &ContainerId, view: &Arc<PodView>) {
        self.tell(EventKind::Started, id.as_str(), view);
    }

    /// A container ended.
    pub fn stopped(&self, id: &ContainerId, view: &Arc<PodView>) {
        self.tell(EventKind::Stopped, id.as_str(), view);
    }

    /// A container was removed.
    pub fn deleted(&self, id: &ContainerId, view: &Arc<PodView>) {
        self.tell(EventKind::Deleted, id.as_str(), view);
    }

    /// A sandbox became ready.
    pub fn started_pod(&self, view: &Arc<PodView>) {
        self.tell(EventKind::Created, view.pod.id.as_str(), view);
        self.tell(EventKind::Started, view.pod.id.as_str(), view);
    }

    /// A sandbox became not ready.
    pub fn stopped_pod(&self, view: &Arc<PodView>) {
        self.tell(EventKind::Stopped, view.pod.id.as_str(), view);
    }

    /// A sandbox was removed.
    pub fn deleted_pod(&self, view: &PodView) {
        self.tell(EventKind::Deleted, view.pod.id.as_str(), &Arc::new(view.clone()));
    }
}
