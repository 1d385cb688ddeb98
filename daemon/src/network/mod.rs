// SPDX-License-Identifier: Apache-2.0
//! Pod networks: namespaces, and CNI plugins that connect them.
//!
//! ```text
//!  attach: record "adding" ─▶ ADD ─▶ record "added" ─▶ addresses
//!             │                └─ fails ─▶ DEL ─▶ record removed
//!             └─ daemon dies anywhere here: `pending` names the pod, `detach` undoes it
//!  detach: DEL with what the record remembers ─▶ record removed
//! ```
//!
//! The record is on disk, so that a reboot gets its DEL too. It holds the configuration that ADD
//! was called with: DEL works whatever has become of the file since.

mod attach;
pub mod cni;
mod detach;
mod error;
mod flight;
pub mod netns;
mod pod_cidr;
mod quantity;
mod ready;
mod record;
#[cfg(test)]
mod tests;
mod watch;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

pub use attach::{AttachRequest, Attachment};
pub use detach::{Pending, PendingState};
pub use error::NetworkError;
pub use pod_cidr::BadPodCidr;
pub use ready::{NotReady, Readiness, Reason};

use cni::{Caller, Choice, Found, NoNetwork};
use ready::Probe;

/// Interface that every pod gets, as Kubernetes expects.
const INTERFACE: &str = "eth0";

/// Where things are and how long they may take.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Directory of network configurations; made if missing.
    pub network_dir: PathBuf,
    /// Directories of plugins, in the order they are searched.
    pub plugin_dirs: Vec<PathBuf>,
    /// Which network pods join.
    pub choice: Choice,
    /// Directory of attachment records; outlives a reboot.
    pub state_dir: PathBuf,
    /// Directory of what need not outlive a reboot.
    pub run_dir: PathBuf,
    /// How long one chain of plugins may take.
    pub deadline: Duration,
    /// How long the plugins may take to say how they are.
    pub status_deadline: Duration,
}

/// The node's pod network. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Network {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    caller: Caller,
    loaded: RwLock<Loaded>,
    probe: Mutex<Probe>,
    probed: tokio::sync::Notify,
    cidrs: RwLock<Vec<String>>,
    watcher: Mutex<Option<tokio::task::AbortHandle>>,
}

/// What the configuration directory held when it was last looked at.
#[derive(Debug)]
struct Loaded {
    /// Counts the looks at the directory.
    generation: u64,
    network: Result<Arc<Found>, Arc<NoNetwork>>,
}

impl Network {
    /// Loads the network and keeps watching its directory. That there is no usable network is no
    /// error here: pods on the host's network run all the same.
    ///
    /// # Errors
    /// [`NetworkError::Directory`] when crisp's own directories cannot be made or read.
    pub async fn open(settings: Settings) -> Result<Self, NetworkError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| NetworkError::Directory { path, source }
        };
        for directory in [&settings.state_dir, &settings.run_dir] {
            std::fs::create_dir_all(directory).map_err(failed(directory))?;
        }
        let records = &settings.state_dir;
        crate::store::drop_unfinished(records).map_err(failed(records))?;
        let caller =
            Caller { directories: settings.plugin_dirs.clone(), deadline: settings.deadline };
        let cidrs = pod_cidr::remembered(&settings.run_dir);
        let watching = watch::start(&settings.network_dir);
        let network = cni::load(&settings.network_dir, &settings.choice);
        let inner = Arc::new(Inner {
            loaded: RwLock::new(Loaded {
                generation: 0,
                network: network.map(Arc::new).map_err(Arc::new),
            }),
            settings,
            caller,
            probe: Mutex::default(),
            probed: tokio::sync::Notify::new(),
            cidrs: RwLock::new(cidrs),
            watcher: Mutex::new(None),
        });
        let task = tokio::spawn(watch::keep_current(Arc::downgrade(&inner), watching));
        *inner.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
        Ok(Self { inner })
    }

    /// File that the network in use was read from.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        self.inner.found().ok().map(|found| found.file.clone())
    }

    /// Takes the node's pod CIDRs, separated by commas. They are offered to plugins that declare
    /// the capability `ipRanges`. Empty text changes nothing.
    ///
    /// # Errors
    /// [`BadPodCidr`].
    pub fn set_pod_cidr(&self, text: &str) -> Result<(), BadPodCidr> {
        if text.trim().is_empty() {
            return Ok(());
        }
        let cidrs = pod_cidr::parse(text)?;
        pod_cidr::remember(&self.inner.settings.run_dir, &cidrs);
        *self.inner.cidrs.write().unwrap_or_else(PoisonError::into_inner) = cidrs;
        Ok(())
    }
}

impl Inner {
    fn found(&self) -> Result<Arc<Found>, Arc<NoNetwork>> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).network.clone()
    }

    fn generation(&self) -> u64 {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).generation
    }

    /// Looks at the directory again.
    fn reload(&self) {
        let network = cni::load(&self.settings.network_dir, &self.settings.choice);
        let mut loaded = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        match (&loaded.network, &network) {
            (Ok(old), Ok(new)) if **old == *new => return,
            (_, Ok(new)) => {
                let (name, file) = (&new.conf.name, new.file.display());
                tracing::info!(network = name, %file, "pod network loaded");
            }
            (Ok(old), Err(why)) => {
                tracing::warn!(network = old.conf.name, %why, "pod network gone");
            }
            (Err(_), Err(_)) => {}
        }
        loaded.generation += 1;
        loaded.network = network.map(Arc::new).map_err(Arc::new);
    }

    /// The network in use. When there was none, one may have come this very moment.
    fn found_now(&self) -> Result<Arc<Found>, Arc<NoNetwork>> {
        self.found().or_else(|_| {
            self.reload();
            self.found()
        })
    }

    fn record_path(&self, pod: &crisp_words::SandboxId) -> PathBuf {
        record::path(&self.settings.state_dir, pod)
    }

    fn flight_path(&self, pod: &crisp_words::SandboxId) -> PathBuf {
        let directory: &Path = &self.settings.run_dir;
        directory.join(format!("{pod}.call"))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let watcher = self.watcher.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = watcher.take() {
            task.abort();
        }
    }
}
