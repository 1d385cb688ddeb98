// SPDX-License-Identifier: Apache-2.0
//! Manifests and indexes: OCI image-spec 1.1 and Docker's schema 2, which differ in names only.

use serde::Deserialize;

use super::{config::null_is_default, digest::Digest};

/// Media types asked for, and so the ones understood.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";
/// Most layers an image may have: overlayfs takes no more (500, kernel's OVL_MAX_STACK).
pub(crate) const MAX_LAYERS: usize = 500;
/// The config's types. An artifact has another.
const CONFIG_TYPES: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// Points to a blob or another manifest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) platform: Option<Platform>,
}

/// What a manifest's programs run on, in Go's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Platform {
    #[serde(deserialize_with = "null_is_default")]
    pub(crate) os: String,
    #[serde(deserialize_with = "null_is_default")]
    pub(crate) architecture: String,
    #[serde(deserialize_with = "null_is_default")]
    pub(crate) variant: String,
}

impl Platform {
    /// This host's.
    pub(crate) fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "aarch64" => ("arm64", "v8"),
            "x86" => ("386", ""),
            "arm" => ("arm", "v7"),
            "powerpc64" => ("ppc64le", ""),
            "loongarch64" => ("loong64", ""),
            other => (other, ""),
        };
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        }
    }

    /// How well programs for `offered` run here; none if they do not.
    fn fitness(&self, offered: &Self) -> Option<u32> {
        if offered.os != self.os || offered.architecture != self.architecture {
            return None;
        }
        let rank = |variant: &str| variant.trim_start_matches('v').parse::<u32>().unwrap_or(0);
        match self.architecture.as_str() {
            // Newer 32-bit ARM runs what is built for older ones; the best fit is the newest.
            "arm" if rank(&offered.variant) > rank(&self.variant) => None,
            "arm" => Some(rank(&offered.variant) + 1),
            // amd64/v2 and up need instructions that not every host has.
            "amd64" if rank(&offered.variant) > 1 => None,
            "arm64" if rank(&offered.variant) > 8 => None,
            _ => Some(1),
        }
    }
}

/// An image's parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// Either kind of document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parsed {
    Manifest(Manifest),
    Index(Vec<Descriptor>),
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Wire {
    schema_version: u32,
    #[serde(deserialize_with = "null_is_default")]
    media_type: String,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

/// Why a document is no image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotAnImage {
    /// It breaks the spec.
    Malformed(String),
    /// It is something else, or too old.
    Unsupported(String),
}

/// Reads a document. The `content_type` header has to agree with the body, so that no document
/// can be a manifest to one reader and an index to another.
pub(crate) fn parse(body: &[u8], content_type: &str) -> Result<Parsed, NotAnImage> {
    let malformed = |reason: &str| NotAnImage::Malformed(reason.to_owned());
    let wire: Wire = serde_json::from_slice(body).map_err(|error| {
        NotAnImage::Malformed(format!("its manifest is not understood: {error}"))
    })?;
    match wire.schema_version {
        2 => {}
        1 => {
            return Err(NotAnImage::Unsupported(
                "its manifest is of Docker's schema 1, which no registry should serve since 2017; \
                 push it again"
                    .to_owned(),
            ));
        }
        other => return Err(malformed(&format!("its manifest has schema version {other}"))),
    }
    let kinds = [wire.media_type.as_str(), content_type.split(';').next().unwrap_or_default()];
    let says_index = kinds.iter().any(|k| k.contains("image.index") || k.contains("manifest.list"));
    let says_manifest =
        kinds.iter().any(|k| k.contains("manifest.v1+") || k.contains("manifest.v2+"));
    match (wire.manifests, wire.config, wire.layers) {
        (Some(manifests), None, None) if !says_manifest => Ok(Parsed::Index(manifests)),
        (None, Some(config), layers) if !says_index => {
            let layers = layers.unwrap_or_default();
            check_manifest(&config, &layers)?;
            Ok(Parsed::Manifest(Manifest { config, layers }))
        }
        _ => Err(malformed("its manifest says it is an index and an image at once, or neither")),
    }
}

fn check_manifest(config: &Descriptor, layers: &[Descriptor]) -> Result<(), NotAnImage> {
    if !config.media_type.is_empty() && !CONFIG_TYPES.contains(&config.media_type.as_str()) {
        return Err(NotAnImage::Unsupported(format!(
            "it is an artifact of type {:?}, not a container image",
            config.media_type
        )));
    }
    if layers.len() > MAX_LAYERS {
        return Err(NotAnImage::Unsupported(format!(
            "it has {} layers; the kernel takes at most {MAX_LAYERS}",
            layers.len()
        )));
    }
    match layers.iter().find(|layer| layer.media_type.ends_with("+encrypted")) {
        Some(layer) => {
            Err(NotAnImage::Unsupported(format!("its layer {} is encrypted", layer.digest)))
        }
        None => Ok(()),
    }
}

/// The manifest of an index to use on `host`. The first of the best wins.
pub(crate) fn choose<'a>(manifests: &'a [Descriptor], host: &Platform) -> Option<&'a Descriptor> {
    let mut best: Option<(&Descriptor, u32)> = None;
    for descriptor in manifests {
        let Some(platform) = &descriptor.platform else { continue };
        let Some(fitness) = host.fitness(platform) else { continue };
        if best.is_none_or(|(_, so_far)| fitness > so_far) {
            best = Some((descriptor, fitness));
        }
    }
    // An index of one nameless manifest leaves no choice.
    best.map(|(descriptor, _)| descriptor).or(match manifests {
        [only] if only.platform.is_none() => Some(only),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(n: u8, platform: Option<(&str, &str, &str)>) -> Descriptor {
        let platform = platform.map(|(os, architecture, variant)| Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        });
        Descriptor { media_type: String::new(), digest: Digest::of(&[n]), size: 1, platform }
    }

    fn host(architecture: &str, variant: &str) -> Platform {
        Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        }
    }

    #[test]
    fn the_best_manifest_for_the_host_is_chosen() {
        let index = [
            descriptor(0, Some(("unknown", "unknown", ""))),
            descriptor(1, Some(("windows", "amd64", ""))),
            descriptor(2, Some(("linux", "amd64", "v3"))),
            descriptor(3, Some(("linux", "amd64", ""))),
            descriptor(4, Some(("linux", "arm", "v5"))),
            descriptor(5, Some(("linux", "arm", "v7"))),
            descriptor(6, Some(("linux", "arm64", "v8"))),
        ];
        let chosen = |a: &str, v: &str| choose(&index, &host(a, v)).map(|d| d.digest.clone());
        assert_eq!(chosen("amd64", ""), Some(Digest::of(&[3])));
        assert_eq!(chosen("arm", "v7"), Some(Digest::of(&[5])));
        assert_eq!(chosen("arm", "v6"), Some(Digest::of(&[4])));
        assert_eq!(chosen("arm64", "v8"), Some(Digest::of(&[6])));
        assert_eq!(chosen("riscv64", ""), None);
        assert!(choose(&[descriptor(7, None)], &host("amd64", "")).is_some());
    }

    #[test]
    fn documents_that_are_no_images_are_refused_for_their_reason() {
        let digest = Digest::of(b"");
        let config =
            |kind: &str| format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":1}}"#);
        let image = CONFIG_TYPES[0];
        for (body, kind, part) in [
            ("{".to_owned(), "", "not understood"),
            (r#"{"schemaVersion":1}"#.to_owned(), "", "schema 1"),
            (r#"{"schemaVersion":2}"#.to_owned(), "", "neither"),
            (
                format!(r#"{{"schemaVersion":2,"config":{},"manifests":[]}}"#, config(image)),
                "",
                "at once",
            ),
            (
                format!(r#"{{"schemaVersion":2,"config":{}}}"#, config(image)),
                "application/vnd.oci.image.index.v1+json",
                "at once",
            ),
            (
                format!(
                    r#"{{"schemaVersion":2,"config":{}}}"#,
                    config("application/vnd.cncf.helm")
                ),
                "",
                "artifact",
            ),
            (
                format!(
                    r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
                    config(image),
                    config("application/vnd.oci.image.layer.v1.tar+gzip+encrypted")
                ),
                "",
                "encrypted",
            ),
        ] {
            let error = format!("{:?}", parse(body.as_bytes(), kind).unwrap_err());
            assert!(error.contains(part), "{body}: {error}");
        }
    }
}
