// SPDX-License-Identifier: Apache-2.0
//! What is being done right now, to what, and since when. A stage that goes on for longer than
//! its limit allows is shown to the operator, whatever it waits for.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{clock, limits::Limits};
use crate::metrics::Metrics;

macro_rules! stages {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal, $limits:ident => $limit:expr;)+) => {
        /// A step in the life of a pod, a container or an image that waits for something outside
        /// the daemon.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Stage { $($(#[doc = $doc])+ $name,)+ }

        impl Stage {
            /// Every stage.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Its name, for people and for metrics.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// The longest it takes when all is well; none where only progress counts.
            #[must_use]
            pub fn limit(self, limits: &Limits) -> Option<Duration> {
                match self { $(Self::$name => { let $limits = limits; $limit })+ }
            }
        }
    };
}

// The table of stages: each with its limit, from the configuration's `[deadlines]`.
stages! {
    /// Making a pod's network and user namespaces.
    Namespaces = "namespaces", l => Some(l.host);
    /// CNI ADD.
    Network = "network", l => Some(l.cni);
    /// Making a pod's cgroup.
    Cgroup = "cgroup", l => Some(l.host);
    /// Starting a shim.
    Shim = "shim", l => Some(l.shim_start + l.shim_call);
    /// Making the sandbox in its shim.
    Sandbox = "sandbox", l => Some(l.shim_call * 2);
    /// Writing a pod's files.
    Files = "files", l => Some(l.host);
    /// CNI DEL.
    NetworkUndo = "network-undo", l => Some(l.cni);
    /// Ending a sandbox and its shim.
    SandboxUndo = "sandbox-undo", l => Some(l.shim_call * 2 + l.runtime);
    /// Unmounting a pod's files.
    FilesUndo = "files-undo", l => Some(l.host);
    /// Emptying and removing a pod's cgroup.
    CgroupUndo = "cgroup-undo", l => Some(l.host + l.kill);
    /// Giving up a pod's namespaces.
    NamespacesUndo = "namespaces-undo", l => Some(l.host);
    /// Removing a pod's files.
    PodErase = "pod-erase", l => Some(l.host);
    /// Making a container, from its writable layer to its task.
    Create = "create", l => Some(l.host + l.runtime + l.shim_call);
    /// Starting a container.
    Start = "start", l => Some(l.runtime + l.shim_call);
    /// Killing a container, once its grace is over.
    Kill = "kill", l => Some(l.kill);
    /// Changing a container's limits.
    Update = "update", l => Some(l.runtime + l.shim_call);
    /// Giving back what an ended container held.
    Release = "release", l => Some(l.host + l.runtime + l.shim_call);
    /// Removing a container's files.
    Erase = "erase", l => Some(l.host);
    /// Pulling an image.
    Pull = "pull", _l => None;
}

/// The book of work in flight. Clones share it.
#[derive(Clone)]
pub struct Progress {
    limits: Limits,
    metrics: Metrics,
    open: Arc<Mutex<Book>>,
}

#[derive(Default)]
struct Book {
    next: u64,
    open: BTreeMap<u64, Open>,
}

/// A stage that something is in.
#[derive(Debug, Clone)]
pub struct Open {
    /// Id of the pod or container, or name of the image.
    pub object: String,
    /// The stage.
    pub stage: Stage,
    /// When it began, nanoseconds since the Unix epoch.
    pub since_ns: i64,
    /// When it began.
    pub began: Instant,
    /// The longest it should take.
    pub limit: Option<Duration>,
}

impl Open {
    /// Whether it takes longer than it should.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.limit.is_some_and(|limit| self.began.elapsed() > limit)
    }
}

/// A stage while it goes on. Dropped, it has ended, well or not.
#[must_use]
pub struct InStage {
    progress: Progress,
    number: u64,
}

impl Progress {
    /// An empty book; how long stages took goes to `metrics`.
    #[must_use]
    pub fn new(limits: Limits, metrics: Metrics) -> Self {
        Self { limits, metrics, open: Arc::default() }
    }

    /// Notes that `object` is in `stage` until the answer is dropped.
    pub fn begin(&self, stage: Stage, object: impl fmt::Display) -> InStage {
        let open = Open {
            object: object.to_string(),
            stage,
            since_ns: clock::now_ns(),
            began: Instant::now(),
            limit: stage.limit(&self.limits),
        };
        let mut book = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        book.next += 1;
        let number = book.next;
        book.open.insert(number, open);
        drop(book);
        InStage { progress: self.clone(), number }
    }

    /// What is being done now, the oldest first.
    #[must_use]
    pub fn open(&self) -> Vec<Open> {
        let book = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        book.open.values().cloned().collect()
    }
}

impl Drop for InStage {
    fn drop(&mut self) {
        let mut book = self.progress.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = book.open.remove(&self.number) else { return };
        drop(book);
        let took = open.began.elapsed();
        self.progress.metrics.stage_ended(open.stage, took);
        if open.limit.is_some_and(|limit| took > limit) {
            let (object, stage) = (open.object, open.stage.word());
            tracing::warn!(object, stage, ?took, limit = ?open.limit, "a stage took too long");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_open_until_it_is_dropped_and_over_once_its_limit_has_passed() {
        let limits = Limits { cni: Duration::ZERO, ..Limits::default() };
        let progress = Progress::new(limits, Metrics::default());
        let late = progress.begin(Stage::Network, "p1");
        let fine = progress.begin(Stage::Shim, "p1");
        let open = progress.open();
        assert_eq!(open.iter().map(|o| o.stage).collect::<Vec<_>>(), [Stage::Network, Stage::Shim]);
        assert_eq!(open.iter().map(Open::is_over).collect::<Vec<_>>(), [true, false]);
        drop(late);
        assert_eq!(progress.open().len(), 1);
        drop(fine);
        assert!(progress.open().is_empty());
    }

    #[test]
    fn a_pull_is_never_over() {
        assert_eq!(Stage::Pull.limit(&Limits::default()), None);
    }
}
