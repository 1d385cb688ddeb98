// SPDX-License-Identifier: Apache-2.0
//! Takes out what is broken and fetches it again, by digest: a tag may have moved meanwhile.

use std::fs;

use super::{Findings, Part, is_digest, shown};
use crate::images::{
    Images, ImagesConfig, PullRequest,
    error::ImageError,
    store::{ImageRecord, LayerKey},
};

/// What became of one broken thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repaired {
    /// The image is whole again, with its tags.
    Fetched(String),
    /// Its record was of no use and is gone.
    Removed(String),
    /// It stays broken, or its image is gone now.
    Not {
        /// Which.
        name: String,
        /// Why.
        why: String,
    },
}

/// Repairs what `found` says is broken in the store of `config`. No daemon may use the store.
///
/// # Errors
/// The store cannot be opened, or something broken cannot be moved out of the way.
pub async fn repair(config: ImagesConfig, found: &Findings) -> Result<Vec<Repaired>, ImageError> {
    let mut done = Vec::new();
    let (images_dir, layers_dir) = (config.root.join("images"), config.root.join("layers"));
    let mut keep = Vec::new();
    for damage in &found.damage {
        match &damage.part {
            Part::Record(name) => {
                let path = images_dir.join(name);
                fs::remove_file(&path).map_err(ImageError::host("delete", &path))?;
                done.push(Repaired::Removed(damage.part.to_string()));
            }
            // The image's next pull writes it anew.
            Part::Config(_) => {}
            Part::Layer(key) => {
                let user = found.held.iter().find(|(held, _)| held.as_str() == key);
                if let Some((held, container)) = user {
                    let why = format!("container {container} stands on it; remove that first");
                    done.push(Repaired::Not { name: damage.part.to_string(), why });
                    keep.push(held.clone());
                    continue;
                }
                // Without its description a layer is garbage, which the store sweeps when opened.
                let path = layers_dir.join(key).join("layer.json");
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(ImageError::host("delete", &path)(error));
                    }
                    _ => {}
                }
            }
        }
    }
    let broken: Vec<_> = found.broken_records().filter(|record| !stands(record, &keep)).collect();
    for record in &broken {
        let path = images_dir.join(format!("{}.json", record.id.hex()));
        fs::remove_file(&path).map_err(ImageError::host("delete", &path))?;
    }
    let images = Images::open(config)?;
    for record in broken {
        let name = shown(record);
        done.push(match fetch(&images, record).await {
            Ok(()) => Repaired::Fetched(name),
            Err(why) => Repaired::Not { name, why },
        });
    }
    Ok(done)
}

fn stands(record: &ImageRecord, on: &[LayerKey]) -> bool {
    record.layers.iter().any(|layer| on.contains(layer))
}

/// Fetches an image from the first place that still has it, and gives it its names back.
async fn fetch(images: &Images, record: &ImageRecord) -> Result<(), String> {
    let mut why = "no digest of it is known at any registry".to_owned();
    for digested in &record.digests {
        if !digested.rsplit_once('@').is_some_and(|(_, digest)| is_digest(digest)) {
            continue;
        }
        let request = PullRequest {
            reference: digested.clone(),
            auth: None,
            annotations: record.annotations.clone(),
        };
        match images.pull(request).await {
            Ok(id) if *id.digest() == record.id => {
                let (store, record) = (images.store().clone(), record.clone());
                let named = crate::images::blocking("name image", move || store.rename(&record));
                return named.await.map_err(|error| error.to_string());
            }
            Ok(id) => why = format!("{digested} is now image {id}"),
            Err(error) => why = crate::cri::status::chain(&error),
        }
    }
    Err(format!("it was taken out and could not be fetched again: {why}"))
}
