// SPDX-License-Identifier: Apache-2.0

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::client::Outbox;
use crate::io::streams::{AttachTo, Source};

/// All attachments of one container.
#[derive(Default)]
pub(in crate::io) struct Hub(Mutex<State>);

#[derive(Default)]
struct State {
    outboxes: Vec<Arc<Outbox>>,
    ended: AttachTo,
}

impl Hub {
    /// Offers output to all who want it. Whoever cannot take it now loses it; nobody waits.
    pub(in crate::io) fn offer(&self, source: Source, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        for outbox in &self.state().outboxes {
            outbox.push(source, bytes);
        }
    }

    /// Tells all that a stream has ended.
    pub(in crate::io) fn end(&self, source: Source) {
        let mut state = self.state();
        match source {
            Source::Stdout => state.ended.stdout = true,
            Source::Stderr => state.ended.stderr = true,
        }
        for outbox in &state.outboxes {
            outbox.end(source);
        }
    }

    /// Ends all attachments.
    pub(in crate::io) fn close(&self) {
        for outbox in self.state().outboxes.drain(..) {
            outbox.close();
        }
    }

    /// Adds an attachment. A stream that has ended ends at once for it too.
    pub(super) fn join(&self, outbox: &Arc<Outbox>) {
        let mut state = self.state();
        state.outboxes.push(outbox.clone());
        if state.ended.stdout {
            outbox.end(Source::Stdout);
        }
        if state.ended.stderr {
            outbox.end(Source::Stderr);
        }
    }

    pub(super) fn leave(&self, outbox: &Arc<Outbox>) {
        self.state().outboxes.retain(|other| !Arc::ptr_eq(other, outbox));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
