// SPDX-License-Identifier: Apache-2.0
//! Looks at the image store as it lies on disk, without opening it: configs against their
//! digests, layers against their seals, records against both. What is broken can be taken out,
//! and the images that it breaks fetched again by digest.

mod repair;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    path::{Path, PathBuf},
};

use crisp_words::ContainerId;
pub use repair::{Repaired, repair};

use super::{
    digest::Digest,
    error::ImageError,
    store::{ImageRecord, LayerInfo, LayerKey, RECORD_VERSION, seal},
};

/// What is wrong with one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What is damaged.
    pub part: Part,
    /// How.
    pub what: String,
}

/// A part of the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// An image's record, by the name of its file.
    Record(String),
    /// An image's config, by the image's id.
    Config(String),
    /// A layer, by the name of its directory.
    Layer(String),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(name) => write!(f, "image record {name}"),
            Self::Config(id) => write!(f, "config of image {id}"),
            Self::Layer(key) => write!(f, "layer {key}"),
        }
    }
}

/// What a look at the store found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Images whose records could be read.
    pub images: usize,
    /// Layers whose files are what was unpacked.
    pub layers: usize,
    /// Layers that were unpacked and never sealed: of them only the description was looked at.
    pub unsealed: Vec<String>,
    /// What is broken.
    pub damage: Vec<Damage>,
    records: Vec<ImageRecord>,
    /// Layers that containers stand on.
    held: BTreeMap<LayerKey, ContainerId>,
}

impl Findings {
    /// Names of the images that what is broken breaks: a tag, a digest or the id.
    #[must_use]
    pub fn broken_images(&self) -> Vec<String> {
        self.broken_records().map(shown).collect()
    }

    fn broken_records(&self) -> impl Iterator<Item = &ImageRecord> {
        self.records.iter().filter(|record| {
            self.damage.iter().any(|damage| match &damage.part {
                Part::Record(_) => false,
                Part::Config(id) => *id == record.id.as_str(),
                Part::Layer(key) => record.layers.iter().any(|layer| layer.as_str() == key),
            })
        })
    }

    fn broken(&mut self, part: Part, what: impl Into<String>) {
        self.damage.push(Damage { part, what: what.into() });
    }
}

/// How a person knows an image.
fn shown(record: &ImageRecord) -> String {
    let tag = record.tags.first().map(|tag| tag.name.clone());
    tag.or_else(|| record.digests.first().cloned()).unwrap_or_else(|| record.id.to_string())
}

/// Looks at the whole store below `root`; changes nothing. Blocks for as long as it takes to read
/// all layers.
///
/// # Errors
/// The store's directories cannot be listed. What is broken in them is no error.
pub fn check(root: &Path) -> Result<Findings, ImageError> {
    let (images, layers) = (root.join("images"), root.join("layers"));
    let mut found = Findings::default();
    for path in list(&images)? {
        let name = file_name(&path);
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") if !name.starts_with('.') => record(&path, &mut found),
            Some("unreadable") => {
                found.broken(Part::Record(name), "it was set aside as unreadable");
            }
            _ => {}
        }
    }
    for path in list(&layers.join(".holds"))? {
        let (Ok(id), Ok(bytes)) = (ContainerId::new(file_name(&path)), fs::read(&path)) else {
            continue;
        };
        let keys: Vec<LayerKey> = serde_json::from_slice(&bytes).unwrap_or_default();
        found.held.extend(keys.into_iter().map(|key| (key, id.clone())));
    }
    let named: BTreeSet<LayerKey> =
        found.records.iter().flat_map(|record| &record.layers).cloned().collect();
    for key in &named {
        layer(&layers.join(key.as_str()), key, &mut found);
    }
    Ok(found)
}

fn record(path: &Path, found: &mut Findings) {
    let name = file_name(path);
    let record = match fs::read(path).map(|bytes| serde_json::from_slice::<ImageRecord>(&bytes)) {
        // Removed since the directory was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return found.broken(Part::Record(name), error.to_string()),
        Ok(Err(error)) => return found.broken(Part::Record(name), error.to_string()),
        Ok(Ok(record)) => record,
    };
    if record.version > RECORD_VERSION {
        tracing::warn!(path = %path.display(), "image record of a newer crisp is not looked at");
        return;
    }
    if name != format!("{}.json", record.id.hex()) {
        return found.broken(Part::Record(name), format!("it speaks of image {}", record.id));
    }
    let id = record.id.to_string();
    match fs::read(path.with_extension("config")) {
        Err(error) => found.broken(Part::Config(id), error.to_string()),
        Ok(bytes) if !record.id.matches(&bytes) => {
            found.broken(Part::Config(id), "it does not have its digest");
        }
        Ok(_) => {}
    }
    found.images += 1;
    found.records.push(record);
}

fn layer(dir: &Path, key: &LayerKey, found: &mut Findings) {
    let part = || Part::Layer(key.to_string());
    match fs::read(dir.join("layer.json")).map(|bytes| serde_json::from_slice::<LayerInfo>(&bytes))
    {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return found.broken(part(), "it is not there");
        }
        Err(error) => return found.broken(part(), format!("its description: {error}")),
        Ok(Err(error)) => return found.broken(part(), format!("its description: {error}")),
        Ok(Ok(_)) => {}
    }
    let Some(sealed) = seal::recorded(dir) else {
        if !dir.join("diff").is_dir() {
            return found.broken(part(), "its files are not there");
        }
        return found.unsealed.push(key.to_string());
    };
    match seal::compute(&dir.join("diff")) {
        Ok(now) if now == sealed => found.layers += 1,
        Ok(_) => found.broken(part(), "its files are not what was unpacked"),
        Err(error) => found.broken(part(), format!("its files: {error}")),
    }
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let failed = || ImageError::host("list", dir);
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed()(error)),
        Ok(entries) => entries.map(|entry| Ok(entry.map_err(failed())?.path())).collect(),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Whether `text` is a digest that names content, not a place.
fn is_digest(text: &str) -> bool {
    text.parse::<Digest>().is_ok()
}
