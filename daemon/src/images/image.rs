// SPDX-License-Identifier: Apache-2.0
//! An image as the rest of the daemon sees it.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    config::{ImageConfig, ImageUser},
    digest::{Digest, InvalidDigest},
    reference::Reference,
    store::ImageRecord,
};

/// Names an image on this node: the digest of its config.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageId(Digest);

impl ImageId {
    /// `sha256:hex`, as CRI shows it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(crate) fn digest(&self) -> &Digest {
        &self.0
    }
}

impl From<Digest> for ImageId {
    fn from(digest: Digest) -> Self {
        Self(digest)
    }
}

impl std::str::FromStr for ImageId {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        text.parse().map(Self)
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "image {}", self.as_str())
    }
}

/// An image on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// One id everywhere.
    pub id: ImageId,
    /// `registry/repository:tag`, sorted.
    pub repo_tags: Vec<String>,
    /// `registry/repository@digest` as the registries resolved it, sorted.
    pub repo_digests: Vec<String>,
    /// Bytes on disk, never 0.
    pub size: u64,
    /// Whom it wants to run as.
    pub user: ImageUser,
    /// What it says about how to run it.
    pub config: ImageConfig,
    /// Whether garbage collection is to leave it alone.
    pub pinned: bool,
    /// Those of the last pull's request.
    pub annotations: BTreeMap<String, String>,
}

impl Image {
    pub(super) fn new(record: ImageRecord, pinned: &[String]) -> Self {
        let repo_tags: Vec<String> = record.tags.into_iter().map(|tag| tag.name).collect();
        let is_pinned = repo_tags
            .iter()
            .chain(&record.digests)
            .any(|name| pinned.iter().any(|pattern| fits(pattern, name)));
        Self {
            id: ImageId(record.id),
            user: record.config.image_user(),
            repo_digests: record.digests,
            size: record.size.max(1),
            config: record.config,
            pinned: is_pinned,
            annotations: record.annotations,
            repo_tags,
        }
    }

    /// The tagged name to report for a container that was asked to run the first of `asked` that
    /// says anything: its own where the image bears it, else one that the image bears, else as asked.
    #[must_use]
    pub fn tagged_name(&self, asked: [&str; 2]) -> String {
        borne(&self.repo_tags, asked)
    }

    /// The digested name to report for a container that was asked to run `asked`: of the same
    /// repository if there is one, else any, else the id.
    #[must_use]
    pub fn digested_name(&self, asked: &str) -> String {
        let repository = Reference::parse(asked).map(|reference| reference.name());
        let same = repository.ok().and_then(|repository| {
            self.repo_digests.iter().find(|digested| {
                digested.split_once('@').is_some_and(|(name, _)| name == repository)
            })
        });
        same.or(self.repo_digests.first()).cloned().unwrap_or_else(|| self.id.to_string())
    }
}

/// See [`Image::tagged_name`].
fn borne(tags: &[String], asked: [&str; 2]) -> String {
    let asked = asked.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
    let tagged = Reference::parse(asked).ok().and_then(|reference| reference.tagged());
    let borne = tagged.filter(|name| tags.contains(name));
    borne.or_else(|| tags.first().cloned()).unwrap_or_else(|| asked.to_owned())
}

/// Exact, `begins*`, or `*contains*`; a lone `*` fits all.
fn fits(pattern: &str, name: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(_), Some(_)) => name.contains(pattern.trim_matches('*')),
        (None, Some(beginning)) => name.starts_with(beginning),
        _ => name == pattern,
    }
}

/// What images take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsInfo {
    /// A directory on the filesystem that holds them.
    pub mountpoint: PathBuf,
    /// By all layers.
    pub used_bytes: u64,
    /// By all layers.
    pub inodes_used: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pin_patterns_are_exact_or_begin_or_contain() {
        let name = "registry.k8s.io/pause:3.9";
        for fit in [name, "registry.k8s.io/pause*", "*pause*", "*"] {
            assert!(fits(fit, name), "{fit}");
        }
        for unfit in ["pause", "registry.k8s.io/pause", "*pause:3.9", "pause*", "*paws*"] {
            assert!(!fits(unfit, name), "{unfit}");
        }
    }

    #[test]
    fn a_container_is_named_by_what_the_user_wrote_if_the_image_bears_it() {
        let tags = ["docker.io/library/a:1", "docker.io/library/b:latest"].map(str::to_owned);
        assert_eq!(borne(&tags, ["b", "sha256:1"]), "docker.io/library/b:latest");
        assert_eq!(borne(&tags, ["c", "sha256:1"]), "docker.io/library/a:1");
        assert_eq!(borne(&tags, ["", "a:1"]), "docker.io/library/a:1");
        assert_eq!(borne(&[], ["", "sha256:1"]), "sha256:1");
    }
}
