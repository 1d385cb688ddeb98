// SPDX-License-Identifier: Apache-2.0
//! The record of one image.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use super::{
    durable::{Outlives, write_record},
    layers::LayerKey,
};
use crate::images::{config::ImageConfig, digest::Digest, error::ImageError};

/// Version written. A record of a higher one is left alone.
pub(crate) const RECORD_VERSION: u32 = 1;

/// A tag and when it came to this image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tag {
    pub(crate) name: String,
    /// Nanoseconds since the epoch. If a crash leaves a tag in two records, the later one has it.
    pub(crate) since: u64,
}

/// What this node knows of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    pub(crate) version: u32,
    /// Digest of the config blob.
    pub(crate) id: Digest,
    /// Sorted by name.
    pub(crate) tags: Vec<Tag>,
    /// `repository@digest` as resolved at the registry, sorted.
    pub(crate) digests: Vec<String>,
    /// `repository@digest` of this platform's manifest, if an index led to it.
    #[serde(default)]
    pub(crate) manifests: Vec<String>,
    /// Lowest first.
    pub(crate) layers: Vec<LayerKey>,
    /// Bytes of all layers on disk and of the config.
    pub(crate) size: u64,
    pub(crate) config: ImageConfig,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl ImageRecord {
    pub(super) fn add_tag(&mut self, name: &str, since: u64) {
        match self.tags.binary_search_by(|tag| tag.name.as_str().cmp(name)) {
            Ok(at) => self.tags[at].since = since,
            Err(at) => self.tags.insert(at, Tag { name: name.to_owned(), since }),
        }
    }

    pub(super) fn drop_tag(&mut self, name: &str) {
        self.tags.retain(|tag| tag.name != name);
    }

    /// Adds the digests that `other` is known by.
    pub(super) fn add_names(&mut self, other: &Self) {
        other.digests.iter().for_each(|name| insert_sorted(&mut self.digests, name));
        other.manifests.iter().for_each(|name| insert_sorted(&mut self.manifests, name));
    }

    pub(super) fn add_digest(&mut self, digested: &str, manifest: &Digest) {
        insert_sorted(&mut self.digests, digested);
        if let Some((repository, _)) = digested.split_once('@') {
            let by_manifest = format!("{repository}@{manifest}");
            if by_manifest != digested {
                insert_sorted(&mut self.manifests, &by_manifest);
            }
        }
    }
}

fn insert_sorted(list: &mut Vec<String>, text: &str) {
    if let Err(at) = list.binary_search_by(|other| other.as_str().cmp(text)) {
        list.insert(at, text.to_owned());
    }
}

pub(super) fn write(dir: &Path, record: &ImageRecord) -> Result<(), ImageError> {
    let bytes = serde_json::to_vec(record)
        .map_err(|error| ImageError::host("encode", record.id.as_str())(error.into()))?;
    write_record(dir, &format!("{}.json", record.id.hex()), &bytes, Outlives::PowerCut)
}

pub(super) fn write_config(dir: &Path, id: &Digest, blob: &[u8]) -> Result<(), ImageError> {
    write_record(dir, &format!("{}.config", id.hex()), blob, Outlives::PowerCut)
}

pub(super) fn read_config(dir: &Path, id: &Digest) -> Result<Vec<u8>, ImageError> {
    let path = dir.join(format!("{}.config", id.hex()));
    std::fs::read(&path).map_err(ImageError::host("read", &path))
}

pub(super) fn delete_record(dir: &Path, id: &Digest) -> Result<(), ImageError> {
    let path = dir.join(format!("{}.json", id.hex()));
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ImageError::host("delete", &path)(error))
        }
        _ => Ok(()),
    }
}

/// A config without its record is harmless; the next pull writes over it.
pub(super) fn delete_config(dir: &Path, id: &Digest) {
    let _ = std::fs::remove_file(dir.join(format!("{}.config", id.hex())));
}

pub(super) fn delete(dir: &Path, id: &Digest) {
    if let Err(error) = delete_record(dir, id) {
        tracing::warn!(%error, "an image record stays");
    }
    delete_config(dir, id);
}

/// Reads all records. One that cannot be read is set aside, not the end of all others.
pub(super) fn read_all(dir: &Path) -> Result<Vec<ImageRecord>, ImageError> {
    let mut records = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(ImageError::host("list", dir))? {
        let path = entry.map_err(ImageError::host("list", dir))?.path();
        if path.extension().is_some_and(|extension| extension == "new") {
            let _ = std::fs::remove_file(&path);
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let bytes = std::fs::read(&path).map_err(ImageError::host("read", &path))?;
        match serde_json::from_slice::<ImageRecord>(&bytes) {
            Ok(record) if record.version <= RECORD_VERSION => records.push(record),
            Ok(record) => {
                let version = record.version;
                tracing::warn!(path = %path.display(), version, "image record of a newer crisp");
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "setting aside an unreadable record");
                let _ = std::fs::rename(&path, path.with_extension("unreadable"));
            }
        }
    }
    Ok(records)
}
