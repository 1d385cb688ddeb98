// SPDX-License-Identifier: Apache-2.0
//! NRI, the Node Resource Interface: plugins hear of what happens to pods and containers, and may
//! change how containers are made and limited.
//!
//! ```text
//!  plugin ──socket──▶ listen ─▶ attend: register, configure, synchronize ─▶ books
//!  pods/, containers/ ─▶ tell, create ─▶ plugins in the order of their indices
//!                                         └─▶ merge ─▶ apply (this container's spec)
//!                                                   └▶ updates (other containers)
//! ```
//!
//! A plugin is asked about one pod by that pod's own work, so a slow one delays that pod only; it
//! hears of different pods at the same time. One that takes too long or speaks nonsense is dropped
//! and passed over: pods go on without it. One that says no is heeded.

mod apply;
mod attend;
mod books;
mod connection;
mod create;
mod describe;
mod error;
mod frame;
#[cfg(test)]
mod golden;
mod identity;
mod launch;
mod listen;
mod merge;
mod plugin;
mod resources;
mod synchronize;
mod tell;
mod updates;

use std::{path::PathBuf, sync::Arc, time::Duration};

use crisp_nri::Event;
use protobuf::Enum;
use serde_json::{Value, json};

pub use apply::apply;
pub use books::Passage;
pub use create::{Announced, CreateError, create_container, undo_container, update_container};
pub use error::{NriError, OpenError};
pub use listen::Socket;
pub use resources::{add_rest, to_request};
pub use tell::{
    Happened, happened, remove_container, remove_pod, run_pod, start_container, stop_container,
    stop_pod, undo_pod, update_pod, updated_pod,
};

use crate::pods::context::Context;

/// How plugins are reached, and how long they may take.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The socket for plugins that connect; `None` to let none.
    pub socket: Option<PathBuf>,
    /// Where the programs of plugins are that crisp starts.
    pub plugin_dir: PathBuf,
    /// Where their configurations are.
    pub config_dir: PathBuf,
    /// From the connection until the plugin has named itself; then, to be synchronized.
    pub registration: Duration,
    /// One answer of a plugin.
    pub request: Duration,
}

/// The plugins of this node. Clones share them.
#[derive(Clone, Default)]
pub struct Nri {
    books: books::Books,
}

impl Nri {
    fn books(&self) -> &books::Books {
        &self.books
    }

    /// Whether there is no plugin to tell anything.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.books.plugins().is_empty()
    }

    /// What plugins there are, for the operator.
    #[must_use]
    pub fn show(&self) -> Value {
        let plugins = self.books.plugins();
        let events = |plugin: &plugin::Plugin| -> Vec<&'static str> {
            let known = Event::VALUES.iter().filter(|e| !matches!(e, Event::UNKNOWN | Event::LAST));
            known.filter(|e| plugin.events.has(**e)).map(|e| plugin::call_of(*e)).collect()
        };
        let shown = plugins.iter().map(|plugin| {
            json!({
                "name": plugin.name,
                "origin": format!("{:?}", plugin.origin).to_lowercase(),
                "version": plugin.version,
                "synchronized": *plugin.stage.borrow() == plugin::Stage::Ready,
                "events": events(plugin),
            })
        });
        shown.collect()
    }
}

/// Starts the plugins that crisp starts itself, then lets others connect. What is returned keeps
/// the socket.
///
/// # Errors
/// [`OpenError`]; a plugin that fails is none.
pub async fn open(context: &Arc<Context>, settings: Settings) -> Result<Option<Socket>, OpenError> {
    let settings = Arc::new(settings);
    launch::launch(context, &settings).await?;
    let socket = settings.socket.clone();
    socket.map(|path| listen::listen(context.clone(), settings, &path)).transpose()
}
