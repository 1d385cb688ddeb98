// SPDX-License-Identifier: Apache-2.0
//! Unpacked layers and who needs them.

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    Store,
    durable::{Outlives, write_record},
    trash::Trash,
};
use crate::images::{digest::Digest, error::ImageError, unpack::TopDir};

const STAGING: &str = ".staging";
const INFO: &str = "layer.json";
/// A failed pull is likely to be tried again soon, and can then go on from the layers it has.
const ORPHAN_LIFE: Duration = Duration::from_secs(15 * 60);

/// Names a layer's directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct LayerKey(String);

impl LayerKey {
    /// A layer that is the same on top of any other: named by its content.
    pub(crate) fn alone(diff_id: &Digest) -> Self {
        Self(diff_id.hex().to_owned())
    }

    /// A layer completed from those below it: named by the whole chain.
    pub(crate) fn chained(chain_id: &Digest) -> Self {
        Self(format!("chain-{}", chain_id.hex()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn from_dir_name(name: &str) -> Option<Self> {
        let hex = name.strip_prefix("chain-").unwrap_or(name);
        (hex.len() >= 64 && hex.bytes().all(|c| c.is_ascii_hexdigit()))
            .then(|| Self(name.to_owned()))
    }
}

impl fmt::Display for LayerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is known of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerInfo {
    pub(crate) version: u32,
    pub(crate) diff_id: Digest,
    /// On disk.
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
    /// Owner and mode of the top directory, if the layer describes it.
    pub(crate) top: Option<TopDir>,
}

struct Layer {
    info: Arc<LayerInfo>,
    users: usize,
    /// When the last user, a pull, went.
    orphan_since: Option<Instant>,
}

#[derive(Default)]
pub(super) struct Layers {
    layers: HashMap<LayerKey, Layer>,
    bytes: u64,
    inodes: u64,
}

impl Layers {
    /// Finds the layers on disk; directories without a readable description go to the trash.
    pub(super) fn read(dir: &Path, trash: &Trash) -> Result<Self, ImageError> {
        let mut layers = Self::default();
        for entry in std::fs::read_dir(dir).map_err(ImageError::host("list", dir))? {
            let entry = entry.map_err(ImageError::host("list", dir))?;
            let name = entry.file_name();
            let Some(key) = name.to_str().and_then(LayerKey::from_dir_name) else { continue };
            let info = std::fs::read(entry.path().join(INFO)).ok();
            match info.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
                Some(info) => layers.add(key, info),
                None => trash.throw(&entry.path()),
            }
        }
        Ok(layers)
    }

    pub(super) fn add(&mut self, key: LayerKey, info: LayerInfo) {
        self.bytes += info.bytes;
        self.inodes += info.inodes;
        self.layers.insert(key, Layer { info: Arc::new(info), users: 0, orphan_since: None });
    }

    pub(super) fn contains(&self, key: &LayerKey) -> bool {
        self.layers.contains_key(key)
    }

    pub(super) fn info(&self, key: &LayerKey) -> Option<Arc<LayerInfo>> {
        self.layers.get(key).map(|layer| Arc::clone(&layer.info))
    }

    pub(super) fn totals(&self) -> (u64, u64) {
        (self.bytes, self.inodes)
    }

    pub(super) fn retain(&mut self, key: &LayerKey) {
        if let Some(layer) = self.layers.get_mut(key) {
            layer.users += 1;
            layer.orphan_since = None;
        }
    }

    pub(super) fn release(&mut self, key: &LayerKey) {
        if let Some(layer) = self.layers.get_mut(key) {
            layer.users = layer.users.saturating_sub(1);
        }
    }

    pub(super) fn note_orphan(&mut self, key: &LayerKey, now: Instant) {
        if let Some(layer) = self.layers.get_mut(key).filter(|layer| layer.users == 0) {
            layer.orphan_since = Some(now);
        }
    }

    pub(super) fn old_orphans(&self, now: Instant) -> Vec<LayerKey> {
        let old = |layer: &Layer| {
            layer.users == 0
                && layer.orphan_since.is_some_and(|since| now.duration_since(since) > ORPHAN_LIFE)
        };
        self.layers.iter().filter(|(_, layer)| old(layer)).map(|(key, _)| key.clone()).collect()
    }

    pub(super) fn unused(&self) -> Vec<LayerKey> {
        self.layers.iter().filter(|(_, l)| l.users == 0).map(|(key, _)| key.clone()).collect()
    }

    pub(super) fn discard_if_unused(&mut self, key: &LayerKey, dir: &Path, trash: &Trash) {
        if self.layers.get(key).is_some_and(|layer| layer.users == 0) {
            self.discard(key, dir, trash);
        }
    }

    /// Takes the layer out of its place at once; the files go later.
    pub(super) fn discard(&mut self, key: &LayerKey, dir: &Path, trash: &Trash) {
        if let Some(layer) = self.layers.remove(key) {
            self.bytes = self.bytes.saturating_sub(layer.info.bytes);
            self.inodes = self.inodes.saturating_sub(layer.info.inodes);
            trash.throw(&dir.join(key.as_str()));
        }
    }
}

/// Keeps a layer from being collected.
pub(crate) struct Lease {
    store: Store,
    key: LayerKey,
}

impl Lease {
    pub(super) fn new(store: Store, key: LayerKey) -> Self {
        Self { store, key }
    }

    pub(crate) fn key(&self) -> &LayerKey {
        &self.key
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.store.release_lease(&self.key);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease of {}", self.key)
    }
}

/// A directory in which a layer is being unpacked. Dropped, it is deleted.
pub(crate) struct Staging {
    dir: Option<PathBuf>,
    trash: Trash,
}

impl Staging {
    pub(super) fn new(layers_dir: &Path, trash: Trash) -> Result<Self, ImageError> {
        let parent = layers_dir.join(STAGING);
        std::fs::create_dir_all(&parent).map_err(ImageError::host("make directory", &parent))?;
        let dir = parent.join(super::trash::unique_name());
        let made = std::fs::create_dir(&dir).and_then(|()| std::fs::create_dir(dir.join("diff")));
        made.map_err(ImageError::host("make directory", &dir))?;
        Ok(Self { dir: Some(dir), trash })
    }

    /// Where the layer's files go.
    pub(crate) fn diff_dir(&self) -> PathBuf {
        self.dir.as_deref().map(|dir| dir.join("diff")).unwrap_or_default()
    }

    pub(super) fn describe(&self, info: &LayerInfo) -> Result<(), ImageError> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let bytes = serde_json::to_vec(info)
            .map_err(|error| ImageError::host("encode", dir)(error.into()))?;
        write_record(dir, INFO, &bytes, Outlives::Process)
    }

    pub(super) fn move_to(mut self, place: &Path) -> Result<(), ImageError> {
        if let Some(dir) = &self.dir {
            std::fs::rename(dir, place).map_err(ImageError::host("move layer to", place))?;
            self.dir = None;
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Some(dir) = self.dir.take() {
            self.trash.throw(&dir);
        }
    }
}

/// Throws away what was being unpacked when the last daemon ended.
pub(super) fn sweep_staging(layers_dir: &Path, trash: &Trash) -> Result<(), ImageError> {
    let dir = layers_dir.join(STAGING);
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(ImageError::host("list", &dir)(error)),
    };
    for entry in entries.filter_map(Result::ok) {
        trash.throw(&entry.path());
    }
    Ok(())
}
