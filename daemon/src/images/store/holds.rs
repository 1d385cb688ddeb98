// SPDX-License-Identifier: Apache-2.0
//! Which layers containers stand on. A hold outlives the daemon, not the machine: containers do
//! not either.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crisp_words::ContainerId;

use super::{
    Store,
    durable::{Outlives, write_record},
    layers::LayerKey,
};
use crate::images::{digest::Digest, error::ImageError};

const HOLDS: &str = ".holds";

#[derive(Default)]
pub(super) struct Holds {
    by_container: BTreeMap<ContainerId, Vec<LayerKey>>,
}

impl Holds {
    pub(super) fn read(layers_dir: &Path) -> Result<Self, ImageError> {
        let dir = dir(layers_dir);
        std::fs::create_dir_all(&dir).map_err(ImageError::host("make directory", &dir))?;
        let mut holds = Self::default();
        for entry in std::fs::read_dir(&dir).map_err(ImageError::host("list", &dir))? {
            let path = entry.map_err(ImageError::host("list", &dir))?.path();
            let id = path.file_name().and_then(|name| name.to_str()).map(ContainerId::new);
            let Some(Ok(id)) = id else {
                let _ = std::fs::remove_file(&path);
                continue;
            };
            let bytes = std::fs::read(&path).map_err(ImageError::host("read", &path))?;
            match serde_json::from_slice(&bytes) {
                Ok(keys) => drop(holds.by_container.insert(id, keys)),
                Err(error) => tracing::warn!(container = %id, %error, "unreadable hold on layers"),
            }
        }
        Ok(holds)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &LayerKey> {
        self.by_container.values().flatten()
    }
}

fn dir(layers_dir: &Path) -> PathBuf {
    layers_dir.join(HOLDS)
}

impl Store {
    /// Keeps an image's layers for a container until [`Store::release`], also without the image.
    /// Several images add up. Blocks.
    pub(crate) fn hold(
        &self,
        container: &ContainerId,
        id: &Digest,
    ) -> Result<Vec<LayerKey>, ImageError> {
        let _writer = self.inner.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut state = self.state();
        let missing = || ImageError::NotStored { reference: id.to_string() };
        let layers = state.index.get(id).ok_or_else(missing)?.layers.clone();
        let mut keys = state.holds.by_container.get(container).cloned().unwrap_or_default();
        let new: Vec<LayerKey> = layers.iter().filter(|k| !keys.contains(k)).cloned().collect();
        new.iter().for_each(|key| state.layers.retain(key));
        keys.extend(new.iter().cloned());
        drop(state);
        let bytes = serde_json::to_vec(&keys).unwrap_or_default();
        let written =
            write_record(&dir(self.layers_dir()), container.as_str(), &bytes, Outlives::Process);
        let mut state = self.state();
        if let Err(error) = written {
            new.iter().for_each(|key| state.layers.release(key));
            return Err(error);
        }
        state.holds.by_container.insert(container.clone(), keys);
        Ok(layers)
    }

    /// Gives up all layers of a container. Blocks.
    pub(crate) fn release(&self, container: &ContainerId) -> Result<(), ImageError> {
        let _writer = self.inner.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let path = dir(self.layers_dir()).join(container.as_str());
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(ImageError::host("delete", &path)(error));
            }
            _ => {}
        }
        let mut state = self.state();
        for key in state.holds.by_container.remove(container).unwrap_or_default() {
            state.layers.release(&key);
            state.layers.discard_if_unused(&key, &self.inner.layers_dir, &self.inner.trash);
        }
        Ok(())
    }

    /// Containers with layers on hold.
    pub(crate) fn holders(&self) -> Vec<ContainerId> {
        self.state().holds.by_container.keys().cloned().collect()
    }
}
