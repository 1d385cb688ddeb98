// SPDX-License-Identifier: Apache-2.0
//! Images: pulled from registries, kept as layers, found by name.
//!
//! [`Images`] is the room's door. Everything is cancel-safe: a future that is dropped leaves
//! nothing half-made, and what had been decided on disk stays consistent.

pub mod check;
mod config;
mod digest;
mod error;
mod image;
mod manifest;
mod pull;
mod reference;
mod registries;
mod registry;
mod store;
mod unpack;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use crisp_words::ContainerId;

pub use config::{ImageConfig, ImageUser};
pub use digest::{Digest, InvalidDigest};
pub use error::ImageError;
pub use image::{FsInfo, Image, ImageId};
pub use pull::PullRequest;
pub(crate) use pull::blocking;
use reference::Query;
pub use reference::Reference;
use registries::{Registries, RegistriesPath};
use registry::Connections;
pub use registry::{AuthFields, Patience};
pub(crate) use store::{LayerKey, Store};
pub use unpack::{Limits, TopDir, UnpackError};

/// How to run the image room.
#[derive(Debug, Clone)]
pub struct ImagesConfig {
    /// Where images and layers are kept; `images/` and `layers/` are made in it.
    pub root: PathBuf,
    /// registries.conf; none means the environment's or else the system's.
    pub registries_conf: Option<PathBuf>,
    /// Patterns of names never to be garbage-collected: exact, `begins*`, or `*contains*`.
    pub pinned: Vec<String>,
    /// Layers downloaded and unpacked at once, over all pulls.
    pub parallel_layers: usize,
    /// Patience towards registries.
    pub patience: Patience,
    /// Largest layer taken.
    pub limits: Limits,
}

impl ImagesConfig {
    /// The defaults, below `root`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            registries_conf: None,
            pinned: Vec::new(),
            parallel_layers: 6,
            patience: Patience::default(),
            limits: Limits::default(),
        }
    }
}

/// Handle to the images of this node. Cheap to clone.
#[derive(Clone)]
pub struct Images {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    connections: Connections,
    patience: Patience,
    pulls: pull::Pulls,
    registries_path: RegistriesPath,
    /// As of the last pull; short names are looked up by them.
    registries: Mutex<Arc<Registries>>,
    pinned: Mutex<Vec<String>>,
}

impl Images {
    /// Opens the store and sweeps what a crash left. Blocks.
    ///
    /// # Errors
    /// The store's directories cannot be used, or registries.conf is wrong.
    pub fn open(config: ImagesConfig) -> Result<Self, ImageError> {
        let registries_path = RegistriesPath::choose(config.registries_conf.as_deref());
        let registries = Arc::new(Registries::load(&registries_path)?);
        let shared = Shared {
            store: Store::open(&config.root)?,
            connections: Connections::default(),
            patience: config.patience,
            pulls: pull::Pulls::new(config.parallel_layers, config.limits),
            registries_path,
            registries: Mutex::new(registries),
            pinned: Mutex::new(config.pinned),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Pulls an image: asks the registry always, as the tag may have moved; fetches what is not
    /// here; returns when all of it is durable. registries.conf is read anew.
    ///
    /// # Errors
    /// See [`ImageError`]; a registry's failure names the registry.
    pub async fn pull(&self, request: PullRequest) -> Result<ImageId, ImageError> {
        let path = self.shared.registries_path.clone();
        let registries = blocking("read registries.conf", move || Registries::load(&path)).await?;
        let registries = Arc::new(registries);
        *self.shared.registries.lock().unwrap_or_else(PoisonError::into_inner) =
            Arc::clone(&registries);
        let reference = request.reference.clone();
        match pull::pull(Arc::clone(&self.shared), registries, request).await {
            Ok(id) => {
                self.seal(&id);
                Ok(ImageId::from(id))
            }
            Err(error @ ImageError::InvalidReference { .. }) => Err(error),
            Err(error) => Err(ImageError::Pull { reference, source: Box::new(error) }),
        }
    }

    /// Seals the layers of an image that have no seal yet, beside everything else.
    fn seal(&self, id: &Digest) {
        let store = self.shared.store.clone();
        let record = store.list().into_iter().find(|record| record.id == *id);
        if let Some(record) = record {
            tokio::task::spawn_blocking(move || store.seal(&record.layers));
        }
    }

    /// All images, or only the one that `reference` means. A reference that means none gives an
    /// empty list.
    ///
    /// # Errors
    /// The reference is malformed or ambiguous.
    pub fn list(&self, reference: Option<&str>) -> Result<Vec<Image>, ImageError> {
        match reference {
            Some(reference) => Ok(self.status(reference)?.into_iter().collect()),
            None => Ok(self.shared.store.list().into_iter().map(|r| self.image(r)).collect()),
        }
    }

    /// The image that `reference` means: tag, digest, id, beginning of an id, or short name.
    ///
    /// # Errors
    /// The reference is malformed or ambiguous.
    pub fn status(&self, reference: &str) -> Result<Option<Image>, ImageError> {
        let query = self.query(reference)?;
        Ok(self.shared.store.find(&query)?.map(|record| self.image(record)))
    }

    /// Like [`Images::status`], but the image has to be here.
    ///
    /// # Errors
    /// [`ImageError::NotStored`] if it is not.
    pub fn resolve(&self, reference: &str) -> Result<Image, ImageError> {
        self.status(reference)?
            .ok_or_else(|| ImageError::NotStored { reference: reference.to_owned() })
    }

    /// Removes the whole image that `reference` means, with all its names. Containers keep the
    /// layers they stand on. Returns which image it was, or none if it was not here.
    ///
    /// # Errors
    /// The reference is malformed or ambiguous, or the disk failed.
    pub async fn remove(&self, reference: &str) -> Result<Option<ImageId>, ImageError> {
        let query = self.query(reference)?;
        let store = self.shared.store.clone();
        blocking("remove image", move || {
            let Some(record) = store.find(&query)? else { return Ok(None) };
            let removed = store.remove(&record.id)?;
            store.sweep_orphans(std::time::Instant::now());
            Ok(removed.map(|()| ImageId::from(record.id)))
        })
        .await
    }

    /// What the layers take on disk. Costs no disk access.
    #[must_use]
    pub fn fs_info(&self) -> FsInfo {
        let (used_bytes, inodes_used) = self.shared.store.totals();
        FsInfo { mountpoint: self.shared.store.layers_dir().to_owned(), used_bytes, inodes_used }
    }

    /// Bytes of layers that came from registries since the start.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.shared.pulls.received()
    }

    /// The config blob of an image, byte for byte.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn config_blob(&self, id: &ImageId) -> Result<Vec<u8>, ImageError> {
        let (store, id) = (self.shared.store.clone(), id.digest().clone());
        blocking("read image config", move || store.config_blob(&id)).await
    }

    /// Keeps an image's layers for a container, also if the image is removed and over restarts,
    /// until [`Images::release`]. Several images add up.
    ///
    /// # Errors
    /// The image is not here, or the disk failed.
    pub async fn hold(&self, container: &ContainerId, image: &ImageId) -> Result<(), ImageError> {
        let (store, container, id) =
            (self.shared.store.clone(), container.clone(), image.digest().clone());
        blocking("hold image", move || store.hold(&container, &id).map(drop)).await
    }

    /// Gives up what [`Images::hold`] kept for a container. Nothing held is no error.
    ///
    /// # Errors
    /// The disk failed.
    pub async fn release(&self, container: &ContainerId) -> Result<(), ImageError> {
        let (store, container) = (self.shared.store.clone(), container.clone());
        blocking("release image", move || store.release(&container)).await
    }

    /// Containers for which layers are kept: whoever knows which containers exist releases the
    /// others after a restart.
    #[must_use]
    pub fn holders(&self) -> Vec<ContainerId> {
        self.shared.store.holders()
    }

    /// Replaces the patterns of names that are pinned.
    pub fn set_pinned(&self, patterns: Vec<String>) {
        *self.shared.pinned.lock().unwrap_or_else(PoisonError::into_inner) = patterns;
    }

    pub(crate) fn store(&self) -> &Store {
        &self.shared.store
    }

    fn query(&self, reference: &str) -> Result<Query, ImageError> {
        let registries =
            Arc::clone(&self.shared.registries.lock().unwrap_or_else(PoisonError::into_inner));
        Query::parse(&registries.unalias(reference), registries.search())
    }

    fn image(&self, record: store::ImageRecord) -> Image {
        let pinned = self.shared.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        Image::new(record, &pinned)
    }
}

/// Checks a registries.conf and its drop-ins without putting them in force.
///
/// # Errors
/// [`ImageError::Config`] names the file and what is wrong in it.
pub fn check_registries_conf(path: &Path) -> Result<(), ImageError> {
    Registries::load(&RegistriesPath::choose(Some(path))).map(drop)
}

#[cfg(test)]
pub(crate) mod tests;
