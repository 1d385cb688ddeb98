// SPDX-License-Identifier: Apache-2.0
//! Makes images.

use std::io::Write;

use serde_json::{Value, json};

use crate::images::Digest;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Zstd,
    Plain,
}

/// A layer's archive.
pub(crate) struct Archive {
    tar: tar::Builder<Vec<u8>>,
}

impl Archive {
    pub(crate) fn new() -> Self {
        Self { tar: tar::Builder::new(Vec::new()) }
    }

    /// Adds any entry; `name` and `link` are written as they are, however hostile.
    pub(crate) fn entry(
        mut self,
        kind: tar::EntryType,
        name: &str,
        link: &str,
        mode: u32,
        owner: (u64, u64),
        data: &[u8],
    ) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(mode);
        header.set_uid(owner.0);
        header.set_gid(owner.1);
        header.set_mtime(1_000_000_000);
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
        let raw = header.as_old_mut();
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        raw.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.tar.append(&header, data).unwrap();
        self
    }

    pub(crate) fn file(self, name: &str, data: impl AsRef<[u8]>) -> Self {
        self.entry(tar::EntryType::Regular, name, "", 0o644, (0, 0), data.as_ref())
    }

    pub(crate) fn dir(self, name: &str) -> Self {
        self.entry(tar::EntryType::Directory, name, "", 0o755, (0, 0), b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(tar::EntryType::Symlink, name, target, 0o777, (0, 0), b"")
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(tar::EntryType::Link, name, target, 0o644, (0, 0), b"")
    }

    /// Extended headers for the next entry.
    pub(crate) fn pax(mut self, pairs: &[(&str, &[u8])]) -> Self {
        self.tar.append_pax_extensions(pairs.iter().copied()).unwrap();
        self
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.tar.into_inner().unwrap()
    }
}

/// Blobs and the manifest that names them.
pub(crate) struct TestImage {
    pub(crate) blobs: Vec<Vec<u8>>,
    pub(crate) digests: Vec<Digest>,
    pub(crate) manifest: Vec<u8>,
    pub(crate) media_type: &'static str,
    pub(crate) id: Digest,
}

impl TestImage {
    /// An image of the given layers with `config` as its config object.
    pub(crate) fn new(layers: Vec<(Archive, Compression)>, config: Value) -> Self {
        let layers = layers.into_iter().map(|(archive, c)| (archive.bytes(), c)).collect();
        Self::of_bytes(layers, config)
    }

    pub(crate) fn of_bytes(layers: Vec<(Vec<u8>, Compression)>, config: Value) -> Self {
        let diff_ids: Vec<Digest> = layers.iter().map(|(bytes, _)| Digest::of(bytes)).collect();
        let mut blobs: Vec<Vec<u8>> = layers.iter().map(|(b, c)| compress(b, *c)).collect();
        let descriptors: Vec<Value> = blobs
            .iter()
            .zip(&layers)
            .map(|(blob, (_, compression))| {
                let suffix = match compression {
                    Compression::Gzip => "+gzip",
                    Compression::Zstd => "+zstd",
                    Compression::Plain => "",
                };
                let kind = format!("application/vnd.oci.image.layer.v1.tar{suffix}");
                json!({"mediaType": kind, "digest": Digest::of(blob), "size": blob.len()})
            })
            .collect();
        let architecture = crate::images::manifest::Platform::host().architecture;
        let config = json!({
            "architecture": architecture, "os": "linux", "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = serde_json::to_vec(&config).unwrap();
        let id = Digest::of(&config);
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": id, "size": config.len(),
            },
            "layers": descriptors,
        });
        blobs.push(config);
        let digests = blobs.iter().map(|blob| Digest::of(blob)).collect();
        Self { digests, blobs, manifest: serde_json::to_vec(&manifest).unwrap(), media_type, id }
    }

    /// One small layer; images of different `word`s differ.
    pub(crate) fn small(word: &str) -> Self {
        let layer = Archive::new().dir("etc/").file("etc/word", word);
        Self::new(vec![(layer, Compression::Gzip)], json!({"Cmd": ["echo", word]}))
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }
}

fn compress(bytes: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::Plain => bytes.to_vec(),
        Compression::Zstd => zstd::encode_all(bytes, 1).unwrap(),
        Compression::Gzip => {
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
    }
}
