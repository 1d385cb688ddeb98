// SPDX-License-Identifier: Apache-2.0
//! The plugins there are, and the pods and containers that are coming or going.
//!
//! A plugin hears of each pod and container once: in Synchronize, or as an event. So it enters
//! the books in the same step that takes note of what is coming (told to others before it, and
//! not yet shown) and what is going (told to others as removed, and still shown). Events of its
//! own wait until it is synchronized.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::plugin::Plugin;
use crate::{containers::record::ContainerRecord, pods::record::PodRecord};

/// Something that is coming and that plugins were told of.
#[derive(Debug, Clone)]
pub enum Coming {
    /// A pod being made.
    Pod(Arc<PodRecord>),
    /// A container being made.
    Container(Arc<ContainerRecord>),
}

#[derive(Debug, Clone)]
enum Passing {
    Coming(Coming),
    Going,
}

/// The books. Clones share them.
#[derive(Clone, Default)]
pub struct Books(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    /// In the order they are asked.
    plugins: Arc<[Arc<Plugin>]>,
    passing: HashMap<String, Passing>,
}

/// What a plugin finds when it enters: what is coming, and the ids of what is going.
#[derive(Debug, Default)]
pub struct Entry {
    /// To be synchronized although it is not shown.
    pub coming: Vec<Coming>,
    /// Not to be synchronized although it is shown.
    pub going: Vec<String>,
}

/// Something is coming or going, until this is dropped. Knows which plugins were told.
pub struct Passage {
    books: Books,
    id: String,
    /// The plugins to tell, in their order.
    pub plugins: Arc<[Arc<Plugin>]>,
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.books.pages().passing.remove(&self.id);
    }
}

impl Books {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        // Each change is one step: the pages are whole whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The plugins, in the order they are asked.
    #[must_use]
    pub fn plugins(&self) -> Arc<[Arc<Plugin>]> {
        self.pages().plugins.clone()
    }

    /// Something is coming; the plugins that are to be told first.
    #[must_use]
    pub fn coming(&self, id: &str, what: Coming) -> Passage {
        self.passage(id, Passing::Coming(what))
    }

    /// Something is going; the plugins that are to be told first.
    #[must_use]
    pub fn going(&self, id: &str) -> Passage {
        self.passage(id, Passing::Going)
    }

    fn passage(&self, id: &str, what: Passing) -> Passage {
        let mut pages = self.pages();
        pages.passing.insert(id.to_owned(), what);
        Passage { books: self.clone(), id: id.to_owned(), plugins: pages.plugins.clone() }
    }

    /// Adds a plugin. What becomes visible or invisible from now on, it is told by events.
    #[must_use]
    pub fn enter(&self, plugin: Arc<Plugin>) -> Entry {
        let mut pages = self.pages();
        let mut plugins = pages.plugins.to_vec();
        plugins.push(plugin);
        plugins.sort_by(|one, other| one.identity.cmp(&other.identity));
        pages.plugins = plugins.into();
        let mut entry = Entry::default();
        for (id, passing) in &pages.passing {
            match passing {
                Passing::Coming(what) => entry.coming.push(what.clone()),
                Passing::Going => entry.going.push(id.clone()),
            }
        }
        entry
    }

    /// Takes a plugin out.
    pub fn leave(&self, plugin: &Arc<Plugin>) {
        let mut pages = self.pages();
        let rest = pages.plugins.iter().filter(|known| !Arc::ptr_eq(known, plugin)).cloned();
        pages.plugins = rest.collect();
    }
}
