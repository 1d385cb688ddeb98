// SPDX-License-Identifier: Apache-2.0
//! Containers whose shims said that memory ran out. Shims of others leave no record of it: of a
//! virtual machine's containers nothing else tells. crisp's own shim needs this not.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::context::Context;
use crate::shims::Hint;

/// Ids of containers, until their exit has been told.
#[derive(Debug, Default)]
pub struct Ooms(Mutex<HashSet<String>>);

impl Ooms {
    fn note(&self, container: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(container);
    }

    /// Whether memory ran out in a container; asked once, at its exit.
    pub fn take(&self, container: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(container)
    }
}

/// Takes note of what shims say, for as long as anybody hears them.
pub async fn listen(context: Arc<Context>, mut hints: Receiver<Hint>) {
    loop {
        match hints.recv().await {
            // One that is not known, or not any more, has no exit to come.
            Ok(Hint::Oom { container }) if context.index.container(&container).is_ok() => {
                context.ooms.note(container);
            }
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "shims say more than can be heard");
            }
            Err(RecvError::Closed) => return,
        }
    }
}
