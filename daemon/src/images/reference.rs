// SPDX-License-Identifier: Apache-2.0
//! Names of images, normalised the way every Docker-descended tool does it:
//! no registry means `docker.io`, no namespace there means `library`, no tag means `latest`.

use std::fmt;

use super::{digest::Digest, error::ImageError};

/// The registry that a name without one means.
pub const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";
/// Longest `registry/repository`, from the distribution project's grammar.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;
/// Shortest text taken as the beginning of an image id: less is more likely a slip than a wish.
const MIN_ID_PREFIX: usize = 3;

/// A full name: registry and repository, with a tag, a digest or both.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses and normalises `text`. A name with neither tag nor digest gets the tag `latest`.
    ///
    /// # Errors
    /// [`ImageError::InvalidReference`] says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        Raw::split(text)?.complete(text, None)
    }

    /// All names that `text` may mean: one, unless `text` names no registry and there is a list
    /// of registries to search, in whose order they come.
    ///
    /// # Errors
    /// [`ImageError::InvalidReference`] says which part is wrong.
    pub fn candidates(text: &str, search: &[String]) -> Result<Vec<Self>, ImageError> {
        let raw = Raw::split(text)?;
        if raw.registry.is_some() || search.is_empty() {
            return Ok(vec![raw.complete(text, None)?]);
        }
        search.iter().map(|registry| raw.clone().complete(text, Some(registry))).collect()
    }

    /// Host and port of the registry, as users write it.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Path of the repository at its registry.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if any.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if any. It decides over the tag.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// `registry/repository`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The name to list in `repo_tags`: none if a digest decided.
    #[must_use]
    pub fn tagged(&self) -> Option<String> {
        match (&self.tag, &self.digest) {
            (Some(tag), None) => Some(format!("{}:{tag}", self.name())),
            _ => None,
        }
    }

    /// The name to list in `repo_digests` when this reference led to `digest`.
    #[must_use]
    pub fn digested(&self, digest: &Digest) -> String {
        format!("{}@{digest}", self.name())
    }

    /// What a registry calls it: the digest, or else the tag.
    #[must_use]
    pub fn at_registry(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => DEFAULT_TAG,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// What a caller of the image service may mean by a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// A whole image id.
    Id(Digest),
    /// Names to look up, first hit wins; if none hits, perhaps the beginning of an id.
    Named {
        /// In the order of the search list.
        names: Vec<Reference>,
        /// Lower-case hex.
        id_prefix: Option<String>,
    },
}

impl Query {
    /// Reads `text` as an id, a name in any form, or the beginning of an id.
    ///
    /// # Errors
    /// [`ImageError::InvalidReference`] when it can be none of them.
    pub fn parse(text: &str, search: &[String]) -> Result<Self, ImageError> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if let Ok(id) = format!("sha256:{hex}").parse::<Digest>() {
            return Ok(Self::Id(id));
        }
        let is_hex = hex.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
        let id_prefix =
            (is_hex && (MIN_ID_PREFIX..64).contains(&hex.len())).then(|| hex.to_owned());
        if text.starts_with("sha256:") && id_prefix.is_some() {
            return Ok(Self::Named { names: Vec::new(), id_prefix });
        }
        Ok(Self::Named { names: Reference::candidates(text, search)?, id_prefix })
    }
}

/// The parts of a text before defaults are filled in.
#[derive(Clone)]
struct Raw {
    registry: Option<String>,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Raw {
    fn split(text: &str) -> Result<Self, ImageError> {
        if text.is_empty() {
            return Err(invalid(text, "it is empty"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse::<Digest>().map_err(|e| invalid(text, &e.to_string()))?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        // A colon is a tag's only after the last slash: before it, it is a port's.
        let name_start = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[name_start..].find(':') {
            Some(colon) => {
                (&rest[..name_start + colon], Some(rest[name_start + colon + 1..].to_owned()))
            }
            None => (rest, None),
        };
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if is_registry(first) => (Some(first.to_owned()), path),
            _ => (None, name),
        };
        Ok(Self { registry, path: path.to_owned(), tag, digest })
    }

    fn complete(self, text: &str, searched: Option<&str>) -> Result<Reference, ImageError> {
        let registry = self.registry.as_deref().or(searched).unwrap_or(DEFAULT_REGISTRY);
        let (registry, prefix) = match registry.split_once('/') {
            // An entry of a search list may carry a path.
            Some((host, path)) => (host, Some(path)),
            None => (registry, None),
        };
        let registry = match registry.to_ascii_lowercase() {
            host if host == "index.docker.io" => DEFAULT_REGISTRY.to_owned(),
            host => host,
        };
        let repository = match prefix {
            Some(prefix) => format!("{prefix}/{}", self.path),
            None if registry == DEFAULT_REGISTRY && !self.path.contains('/') => {
                format!("library/{}", self.path)
            }
            None => self.path,
        };
        check_registry(text, &registry)?;
        check_repository(text, &repository)?;
        if registry.len() + 1 + repository.len() > MAX_NAME {
            return Err(invalid(text, "the name is longer than 255 characters"));
        }
        let tag = match (self.tag, &self.digest) {
            (Some(tag), _) => Some(check_tag(text, tag)?),
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (None, Some(_)) => None,
        };
        Ok(Reference { registry, repository, tag, digest: self.digest })
    }
}

/// Whether the part before the first slash is a registry: it looks like a host, not a namespace.
fn is_registry(first: &str) -> bool {
    first == "localhost"
        || first.contains(['.', ':'])
        || first.bytes().any(|c| c.is_ascii_uppercase())
}

fn check_registry(text: &str, registry: &str) -> Result<(), ImageError> {
    let bad = |why: &str| Err(invalid(text, &format!("registry {registry:?} {why}")));
    let (host, port) = if registry.starts_with('[') {
        let Some(end) = registry.find(']') else { return bad("has no closing ']'") };
        if registry[1..end].parse::<std::net::Ipv6Addr>().is_err() {
            return bad("is not an IPv6 address in brackets");
        }
        ("", &registry[end + 1..])
    } else {
        match registry.find(':') {
            Some(colon) => (&registry[..colon], &registry[colon..]),
            None => (registry, ""),
        }
    };
    let port_legal = port.is_empty()
        || port.strip_prefix(':').is_some_and(|p| {
            p.bytes().all(|c| c.is_ascii_digit()) && p.parse::<u16>().is_ok_and(|p| p != 0)
        });
    if !port_legal {
        return bad("has a bad port");
    }
    let label_legal = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
    };
    if !registry.starts_with('[') && !host.split('.').all(label_legal) {
        return bad("is not a host name");
    }
    Ok(())
}

fn check_repository(text: &str, repository: &str) -> Result<(), ImageError> {
    if let Some(part) = repository.split('/').find(|part| !is_path_component(part)) {
        let why = if part.bytes().any(|c| c.is_ascii_uppercase()) {
            "must be lower case"
        } else {
            "must be letters and digits with single '.', '_', '__' or dashes between them"
        };
        return Err(invalid(text, &format!("repository part {part:?} {why}")));
    }
    Ok(())
}

/// Alphanumeric runs with one separator between each two: `.`, `_`, `__` or any number of `-`.
fn is_path_component(part: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators_legal = part
        .split(alphanumeric)
        .filter(|gap| !gap.is_empty())
        .all(|gap| matches!(gap, "." | "_" | "__") || gap.bytes().all(|c| c == b'-'));
    part.starts_with(alphanumeric) && part.ends_with(alphanumeric) && separators_legal
}

fn check_tag(text: &str, tag: String) -> Result<String, ImageError> {
    let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-');
    let starts_well = tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if starts_well && tag.len() <= MAX_TAG && tag.bytes().all(legal) {
        Ok(tag)
    } else {
        Err(invalid(text, &format!("tag {tag:?} is not 1 to 128 letters, digits, '_', '.' or '-'")))
    }
}

fn invalid(reference: &str, reason: &str) -> ImageError {
    ImageError::InvalidReference { reference: reference.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "9700f9a2f5bf2c45f2f605a0bd3bce7cf37420ec9d3ed50ac2758413308766bf";

    fn normal(text: &str) -> String {
        Reference::parse(text).unwrap().to_string()
    }

    #[test]
    fn missing_parts_default_the_docker_way() {
        assert_eq!(normal("busybox"), "docker.io/library/busybox:latest");
        assert_eq!(normal("busybox:1.36"), "docker.io/library/busybox:1.36");
        assert_eq!(normal("user/app"), "docker.io/user/app:latest");
        assert_eq!(normal("index.docker.io/busybox"), "docker.io/library/busybox:latest");
        assert_eq!(normal("localhost/app"), "localhost/app:latest");
        assert_eq!(normal("localhost:5000/app"), "localhost:5000/app:latest");
        assert_eq!(normal("gcr.io/a/b/c"), "gcr.io/a/b/c:latest");
        assert_eq!(normal("[::1]:5000/app:1"), "[::1]:5000/app:1");
        assert_eq!(normal("GCR.io/app"), "gcr.io/app:latest");
    }

    #[test]
    fn a_digest_decides_over_a_tag() {
        let both = Reference::parse(&format!("gcr.io/a/b:1@sha256:{HEX}")).unwrap();
        assert_eq!(both.at_registry(), format!("sha256:{HEX}"));
        assert_eq!(both.tagged(), None);
        let only = Reference::parse(&format!("gcr.io/a/b@sha256:{HEX}")).unwrap();
        assert_eq!(only.tag(), None);
        assert_eq!(only.digested(only.digest().unwrap()), format!("gcr.io/a/b@sha256:{HEX}"));
    }

    #[test]
    fn a_bad_reference_is_refused_with_the_bad_part() {
        for (text, part) in [
            ("", "empty"),
            ("Busybox", "lower case"),
            ("a//b", "repository part"),
            ("a/", "repository part"),
            ("a:", "tag"),
            ("a:b c", "tag"),
            ("a:-b", "tag"),
            ("a@sha256:12", "sha256:12"),
            ("host:99999/a", "port"),
            ("host:+1/a", "port"),
            ("-x.io/a", "host name"),
            ("a..b/c", "host name"),
            ("a/b...c", "repository part"),
            ("a/../b", "repository part"),
        ] {
            let error = Reference::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        }
        assert!(Reference::parse(&"a".repeat(256)).is_err());
    }

    #[test]
    fn a_short_name_is_looked_for_in_every_searched_registry() {
        let search =
            vec!["quay.io".to_owned(), "host:5000/team".to_owned(), "docker.io".to_owned()];
        let names: Vec<_> = Reference::candidates("app:1", &search)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, ["quay.io/app:1", "host:5000/team/app:1", "docker.io/library/app:1"]);
        assert_eq!(Reference::candidates("gcr.io/app:1", &search).unwrap().len(), 1);
    }

    #[test]
    fn an_id_is_known_in_all_its_forms() {
        let id: Digest = format!("sha256:{HEX}").parse().unwrap();
        assert_eq!(Query::parse(HEX, &[]).unwrap(), Query::Id(id.clone()));
        assert_eq!(Query::parse(id.as_str(), &[]).unwrap(), Query::Id(id));
        match Query::parse(&HEX[..13], &[]).unwrap() {
            Query::Named { names, id_prefix } => {
                assert_eq!(id_prefix.as_deref(), Some(&HEX[..13]));
                assert_eq!(names.len(), 1, "a name of hex letters is still a name");
            }
            Query::Id(_) => panic!("a prefix is not an id"),
        }
        let prefixed = Query::parse(&format!("sha256:{}", &HEX[..12]), &[]).unwrap();
        assert_eq!(prefixed, Query::Named { names: vec![], id_prefix: Some(HEX[..12].to_owned()) });
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,80}") {
            let _ = Reference::parse(&text);
            let _ = Query::parse(&text, &["quay.io".to_owned()]);
        }

        #[test]
        fn a_normalised_name_is_a_fixed_point(
            host in "([a-z][a-z0-9]{0,8}\\.[a-z]{2,3}(:[1-9][0-9]{0,3})?/)?",
            path in "[a-z0-9]{1,5}([._-][a-z0-9]{1,5}){0,2}(/[a-z0-9]{1,5}){0,2}",
            tag in "(:[A-Za-z0-9_][A-Za-z0-9._-]{0,10})?",
            digest in prop::bool::ANY,
        ) {
            let digest = if digest { format!("@sha256:{HEX}") } else { String::new() };
            let once = Reference::parse(&format!("{host}{path}{tag}{digest}"))?;
            let twice = Reference::parse(&once.to_string())?;
            prop_assert_eq!(once, twice);
        }
    }
}
