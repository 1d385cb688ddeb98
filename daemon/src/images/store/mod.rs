// SPDX-License-Identifier: Apache-2.0
//! Images on this node: their records, their layers, and who needs which layer.
//!
//! On disk, below the store's root:
//! ```text
//! images/HEX.json          record of an image: the one thing that makes it exist
//! images/HEX.config        its config blob as pulled
//! layers/KEY/diff          an unpacked layer
//! layers/KEY/layer.json    what is known of it
//! layers/KEY/seal          digest over all its files, once somebody had the time
//! layers/.holds/CONTAINER  layers a container stands on
//! layers/.staging/         layers being unpacked
//! layers/.trash/           layers being deleted
//! ```
//! A record is written only when all its layers are durable. A layer that no record and no hold
//! names is garbage after a restart, so layers need no sync of their own: one before each record.

mod durable;
mod holds;
mod index;
mod layers;
mod record;
pub(crate) mod seal;
mod trash;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use durable::{GroupSync, sync_dir};
use index::Index;
use layers::Layers;
pub(crate) use layers::{LayerInfo, LayerKey, Lease, Staging};
pub(crate) use record::{ImageRecord, RECORD_VERSION};
use trash::Trash;

use super::{config::ConfigBlob, digest::Digest, error::ImageError, reference::Query};

/// A shared handle. Methods that write to disk block and say so.
#[derive(Clone)]
pub(crate) struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    images_dir: PathBuf,
    layers_dir: PathBuf,
    state: Mutex<State>,
    /// Held over a whole change of records, disk and memory; readers need only `state`.
    writer: Mutex<()>,
    sync: GroupSync,
    trash: Trash,
}

#[derive(Default)]
struct State {
    index: Index,
    layers: Layers,
    holds: holds::Holds,
}

/// What a pull brings to be recorded.
pub(crate) struct NewImage {
    pub(crate) id: Digest,
    pub(crate) tag: Option<String>,
    pub(crate) digest: String,
    pub(crate) manifest: Digest,
    pub(crate) config_blob: Vec<u8>,
    pub(crate) annotations: std::collections::BTreeMap<String, String>,
    /// Lowest first.
    pub(crate) layers: Vec<Arc<Lease>>,
    /// Nanoseconds since the epoch.
    pub(crate) now: u64,
}

impl Store {
    /// Opens the store below `root`, and sweeps what a crash left. Blocks.
    pub(crate) fn open(root: &Path) -> Result<Self, ImageError> {
        let images_dir = root.join("images");
        let layers_dir = root.join("layers");
        for dir in [&images_dir, &layers_dir] {
            std::fs::create_dir_all(dir).map_err(ImageError::host("make directory", dir))?;
        }
        let trash = Trash::open(&layers_dir)?;
        layers::sweep_staging(&layers_dir, &trash)?;
        let mut state = State { layers: Layers::read(&layers_dir, &trash)?, ..State::default() };
        let mut records = record::read_all(&images_dir)?;
        records.retain(|record| {
            let whole = record.layers.iter().all(|key| state.layers.contains(key));
            if !whole {
                tracing::warn!(image = %record.id, "dropping an image that lacks layers");
                record::delete(&images_dir, &record.id);
            }
            whole
        });
        for record in records {
            record.layers.iter().for_each(|key| state.layers.retain(key));
            state.index.put(record);
        }
        state.holds = holds::Holds::read(&layers_dir)?;
        for key in state.holds.keys() {
            state.layers.retain(key);
        }
        for key in state.layers.unused() {
            state.layers.discard(&key, &layers_dir, &trash);
        }
        let sync = GroupSync::open(&layers_dir)?;
        let inner = Inner {
            images_dir,
            layers_dir,
            state: Mutex::new(state),
            writer: Mutex::new(()),
            sync,
            trash,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Directory of the layers: the filesystem that images fill.
    pub(crate) fn layers_dir(&self) -> &Path {
        &self.inner.layers_dir
    }

    /// Directory with a layer's files.
    pub(crate) fn diff_dir(&self, key: &LayerKey) -> PathBuf {
        self.inner.layers_dir.join(key.as_str()).join("diff")
    }

    /// What is known of a layer.
    pub(crate) fn layer_info(&self, key: &LayerKey) -> Option<Arc<LayerInfo>> {
        self.state().layers.info(key)
    }

    /// Bytes and inodes that all layers take.
    pub(crate) fn totals(&self) -> (u64, u64) {
        self.state().layers.totals()
    }

    /// Keeps a layer, if it is here, for as long as the lease lives.
    pub(crate) fn lease(&self, key: &LayerKey) -> Option<Lease> {
        let mut state = self.state();
        state.layers.contains(key).then(|| {
            state.layers.retain(key);
            Lease::new(self.clone(), key.clone())
        })
    }

    /// A new directory to unpack a layer in. It vanishes unless committed. Blocks.
    pub(crate) fn stage(&self) -> Result<Staging, ImageError> {
        Staging::new(&self.inner.layers_dir, self.inner.trash.clone())
    }

    /// Puts a staged layer in its place; if somebody was faster, theirs is as good. Blocks.
    pub(crate) fn commit(
        &self,
        staging: Staging,
        key: LayerKey,
        info: LayerInfo,
    ) -> Result<Lease, ImageError> {
        staging.describe(&info)?;
        let mut state = self.state();
        if !state.layers.contains(&key) {
            staging.move_to(&self.inner.layers_dir.join(key.as_str()))?;
            state.layers.add(key.clone(), info);
        }
        state.layers.retain(&key);
        drop(state);
        Ok(Lease::new(self.clone(), key))
    }

    /// Makes a pulled image exist: syncs its layers, writes its record, moves its tag. Blocks.
    pub(crate) fn announce(&self, new: NewImage) -> Result<ImageRecord, ImageError> {
        let inner = &self.inner;
        inner.sync.sync()?;
        sync_dir(&inner.layers_dir)?;
        let _writer = inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let (record, loser, fresh) = self.plan(&new)?;
        if fresh {
            record::write_config(&inner.images_dir, &record.id, &new.config_blob)?;
        }
        record::write(&inner.images_dir, &record)?;
        if let Some(loser) = &loser {
            record::write(&inner.images_dir, loser)?;
        }
        let mut state = self.state();
        if fresh {
            record.layers.iter().for_each(|key| state.layers.retain(key));
        }
        state.index.put(record.clone());
        if let Some(loser) = loser {
            state.index.put(loser);
        }
        Ok(record)
    }

    /// The records to write: the image's, and that of the image which loses the tag to it.
    fn plan(&self, new: &NewImage) -> Result<(ImageRecord, Option<ImageRecord>, bool), ImageError> {
        let state = self.state();
        let (mut record, fresh) = match state.index.get(&new.id) {
            Some(record) => (record.clone(), false),
            None => (self.fresh_record(new, &state)?, true),
        };
        record.annotations.clone_from(&new.annotations);
        record.add_digest(&new.digest, &new.manifest);
        let mut loser = None;
        if let Some(tag) = &new.tag {
            loser = state.index.holder_of(tag).filter(|other| other.id != new.id).cloned();
            if let Some(loser) = &mut loser {
                loser.drop_tag(tag);
            }
            record.add_tag(tag, new.now);
        }
        Ok((record, loser, fresh))
    }

    fn fresh_record(&self, new: &NewImage, state: &State) -> Result<ImageRecord, ImageError> {
        let blob: ConfigBlob = serde_json::from_slice(&new.config_blob).map_err(|error| {
            ImageError::Unsupported { reference: new.digest.clone(), reason: error.to_string() }
        })?;
        let layers: Vec<LayerKey> = new.layers.iter().map(|lease| lease.key().clone()).collect();
        let layer_bytes: u64 =
            layers.iter().filter_map(|k| state.layers.info(k)).map(|i| i.bytes).sum();
        Ok(ImageRecord {
            version: RECORD_VERSION,
            id: new.id.clone(),
            tags: Vec::new(),
            digests: Vec::new(),
            manifests: Vec::new(),
            size: layer_bytes + new.config_blob.len() as u64,
            layers,
            config: blob.config,
            annotations: new.annotations.clone(),
        })
    }

    /// The image that `query` means.
    pub(crate) fn find(&self, query: &Query) -> Result<Option<ImageRecord>, ImageError> {
        self.state().index.find(query).map(|found| found.cloned())
    }

    /// All images, in the order of their ids.
    pub(crate) fn list(&self) -> Vec<ImageRecord> {
        self.state().index.all().cloned().collect()
    }

    /// Forgets an image with all its names; its layers go unless somebody else needs them.
    /// None if it was not there. Blocks.
    pub(crate) fn remove(&self, id: &Digest) -> Result<Option<()>, ImageError> {
        let inner = &self.inner;
        let _writer = inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = self.state().index.get(id).cloned() else { return Ok(None) };
        record::delete_record(&inner.images_dir, id)?;
        let mut state = self.state();
        state.index.remove(id);
        for key in &record.layers {
            state.layers.release(key);
            state.layers.discard_if_unused(key, &inner.layers_dir, &inner.trash);
        }
        drop(state);
        record::delete_config(&inner.images_dir, id);
        sync_dir(&inner.images_dir)?;
        Ok(Some(()))
    }

    /// Gives an image that was fetched again the names that `old` had, except tags that another
    /// image has now. Blocks.
    pub(crate) fn rename(&self, old: &ImageRecord) -> Result<(), ImageError> {
        let inner = &self.inner;
        let _writer = inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.state();
        let Some(mut record) = state.index.get(&old.id).cloned() else { return Ok(()) };
        for tag in &old.tags {
            if state.index.holder_of(&tag.name).is_none() {
                record.add_tag(&tag.name, tag.since);
            }
        }
        drop(state);
        record.add_names(old);
        record::write(&inner.images_dir, &record)?;
        self.state().index.put(record);
        Ok(())
    }

    /// The config blob of an image, as pulled. Blocks.
    pub(crate) fn config_blob(&self, id: &Digest) -> Result<Vec<u8>, ImageError> {
        record::read_config(&self.inner.images_dir, id)
    }

    /// Deletes layers that failed pulls left and that nobody took up since. Never blocks long.
    pub(crate) fn sweep_orphans(&self, now: std::time::Instant) {
        let mut state = self.state();
        for key in state.layers.old_orphans(now) {
            state.layers.discard(&key, &self.inner.layers_dir, &self.inner.trash);
        }
    }

    pub(super) fn release_lease(&self, key: &LayerKey) {
        let mut state = self.state();
        state.layers.release(key);
        state.layers.note_orphan(key, std::time::Instant::now());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock with the state half changed.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
