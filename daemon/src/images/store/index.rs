// SPDX-License-Identifier: Apache-2.0
//! Names to images. Pure.

use std::collections::{BTreeMap, HashMap};

use super::record::ImageRecord;
use crate::images::{
    digest::Digest,
    error::ImageError,
    reference::{Query, Reference},
};

/// All images, found by id, tag and digest. No tag belongs to two images.
#[derive(Debug, Default)]
pub(super) struct Index {
    images: BTreeMap<Digest, ImageRecord>,
    tags: HashMap<String, Digest>,
    digests: HashMap<String, Digest>,
}

impl Index {
    /// Adds or replaces an image. Of two claims to a tag the later one holds.
    pub(super) fn put(&mut self, mut record: ImageRecord) {
        self.remove(&record.id);
        record.tags.retain(|tag| {
            let rival = self.tags.get(&tag.name).and_then(|id| self.images.get_mut(id));
            let Some(rival) = rival else { return true };
            let rival_is_later =
                rival.tags.iter().any(|other| other.name == tag.name && other.since > tag.since);
            if !rival_is_later {
                rival.drop_tag(&tag.name);
            }
            !rival_is_later
        });
        for tag in &record.tags {
            self.tags.insert(tag.name.clone(), record.id.clone());
        }
        for digest in record.digests.iter().chain(&record.manifests) {
            self.digests.insert(digest.clone(), record.id.clone());
        }
        self.images.insert(record.id.clone(), record);
    }

    pub(super) fn remove(&mut self, id: &Digest) {
        if self.images.remove(id).is_some() {
            self.tags.retain(|_, other| other != id);
            self.digests.retain(|_, other| other != id);
        }
    }

    pub(super) fn get(&self, id: &Digest) -> Option<&ImageRecord> {
        self.images.get(id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &ImageRecord> {
        self.images.values()
    }

    pub(super) fn holder_of(&self, tag: &str) -> Option<&ImageRecord> {
        self.tags.get(tag).and_then(|id| self.images.get(id))
    }

    pub(super) fn find(&self, query: &Query) -> Result<Option<&ImageRecord>, ImageError> {
        match query {
            Query::Id(id) => Ok(self.get(id)),
            Query::Named { names, id_prefix } => {
                if let Some(found) = names.iter().find_map(|name| self.named(name)) {
                    return Ok(Some(found));
                }
                id_prefix.as_deref().map_or(Ok(None), |prefix| self.by_prefix(prefix))
            }
        }
    }

    fn named(&self, name: &Reference) -> Option<&ImageRecord> {
        let id = match name.digest() {
            Some(digest) => self.digests.get(&name.digested(digest)),
            None => self.tags.get(&name.tagged()?),
        };
        id.and_then(|id| self.images.get(id))
    }

    fn by_prefix(&self, prefix: &str) -> Result<Option<&ImageRecord>, ImageError> {
        let mut fitting = self.images.values().filter(|image| image.id.hex().starts_with(prefix));
        let first = fitting.next();
        match fitting.count() {
            0 => Ok(first),
            more => Err(ImageError::Ambiguous { prefix: prefix.to_owned(), count: more + 1 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::record::RECORD_VERSION, *};

    fn image(n: u8, tags: &[(&str, u64)], digests: &[&str]) -> ImageRecord {
        let mut record = ImageRecord {
            version: RECORD_VERSION,
            id: Digest::of(&[n]),
            tags: vec![],
            digests: vec![],
            manifests: vec![],
            layers: vec![],
            size: 1,
            config: Default::default(),
            annotations: Default::default(),
        };
        tags.iter().for_each(|(tag, since)| record.add_tag(tag, *since));
        let manifest = Digest::of(b"manifest");
        digests.iter().for_each(|digest| record.add_digest(digest, &manifest));
        record
    }

    fn found(index: &Index, text: &str) -> Option<Digest> {
        index.find(&Query::parse(text, &[]).unwrap()).unwrap().map(|image| image.id.clone())
    }

    #[test]
    fn an_image_is_found_by_every_name_it_has() {
        let mut index = Index::default();
        let digest = format!("docker.io/library/app@{}", Digest::of(b"index"));
        index.put(image(1, &[("docker.io/library/app:1", 0)], &[&digest]));
        let id = Digest::of(&[1]);
        let by_manifest = format!("app@{}", Digest::of(b"manifest"));
        let both = format!("app:2@{}", Digest::of(b"index"));
        for name in [
            "app:1",
            "docker.io/app:1",
            &digest,
            &by_manifest,
            &both,
            id.as_str(),
            id.hex(),
            &id.hex()[..12],
        ] {
            assert_eq!(found(&index, name), Some(id.clone()), "{name}");
        }
        for name in ["app", "app:2", "gcr.io/library/app:1", "0000000000000"] {
            assert_eq!(found(&index, name), None, "{name}");
        }
        index.remove(&id);
        assert_eq!(found(&index, "app:1"), None);
        assert_eq!(found(&index, &digest), None);
    }

    #[test]
    fn the_later_claim_to_a_tag_holds_in_either_order() {
        let (old, new) = (image(1, &[("a.io/x:1", 10)], &[]), image(2, &[("a.io/x:1", 20)], &[]));
        for records in [[old.clone(), new.clone()], [new, old]] {
            let mut index = Index::default();
            records.into_iter().for_each(|record| index.put(record));
            assert_eq!(found(&index, "a.io/x:1"), Some(Digest::of(&[2])));
            let tags: usize = index.all().map(|image| image.tags.len()).sum();
            assert_eq!(tags, 1);
        }
    }

    #[test]
    fn an_ambiguous_id_prefix_is_an_error() {
        let mut index = Index::default();
        let mut first_digits = HashMap::<String, u8>::new();
        let pair = (0..=255u8).find_map(|n| {
            let prefix = Digest::of(&[n]).hex()[..2].to_owned();
            first_digits.insert(prefix, n).map(|other| (other, n))
        });
        let (a, b) = pair.unwrap();
        index.put(image(a, &[], &[]));
        index.put(image(b, &[], &[]));
        let prefix = Digest::of(&[a]).hex()[..2].to_owned();
        let query = Query::Named { names: vec![], id_prefix: Some(prefix) };
        assert!(matches!(index.find(&query), Err(ImageError::Ambiguous { count: 2, .. })));
    }
}
