// SPDX-License-Identifier: Apache-2.0
//! Builds an image in the registry: layers, config, manifest.

use std::io::Write as _;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{Registry, digest, lock};
use crate::fixture::Test;

/// How a layer is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Plain,
    Gzip,
    Zstd,
}

/// Which media types the manifest uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Docker,
    Oci,
    /// An OCI image behind an index that also names another platform.
    OciIndex,
}

/// A layer in the making.
pub type Tar = tar::Builder<Vec<u8>>;

/// An image in the making.
pub struct Builder<'a> {
    registry: &'a Registry,
    name: String,
    layers: Vec<(Vec<u8>, Compression)>,
    config: Value,
    format: Format,
}

impl<'a> Builder<'a> {
    pub(super) fn new(registry: &'a Registry, name: &str) -> Self {
        Self {
            registry,
            name: name.to_owned(),
            layers: Vec::new(),
            config: json!({}),
            format: Format::Oci,
        }
    }

    /// Begins with the files of the busybox image.
    pub async fn busybox(mut self) -> Result<Self> {
        let test = &self.registry.test;
        let layer = test.suite().base_layer.get_or_try_init(|| base_layer(test)).await?;
        self.layers.push((layer.clone(), Compression::Gzip));
        Ok(self)
    }

    /// Adds a layer that `fill` writes.
    pub fn layer(
        mut self,
        compression: Compression,
        fill: impl FnOnce(&mut Tar) -> std::io::Result<()>,
    ) -> Result<Self> {
        let mut tar = Tar::new(Vec::new());
        fill(&mut tar)?;
        self.layers.push((tar.into_inner()?, compression));
        Ok(self)
    }

    /// The `config` object of the image config: `Env`, `Cmd`, `Entrypoint`, `User`, ….
    pub fn config(mut self, config: Value) -> Self {
        self.config = config;
        self
    }

    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Publishes the image; gives its full reference by tag.
    pub fn push(self) -> Result<String> {
        let docker = self.format == Format::Docker;
        let mut layers = Vec::new();
        let mut diff_ids = Vec::new();
        for (tar, compression) in &self.layers {
            diff_ids.push(digest(tar));
            let blob = compress(tar, *compression)?;
            layers.push(json!({
                "mediaType": layer_type(*compression, docker),
                "size": blob.len(),
                "digest": self.registry.put_layer(blob),
            }));
        }
        let config = serde_json::to_vec(&json!({
            "architecture": architecture(),
            "os": "linux",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            // Makes the image's id its own, whatever its files.
            "comment": format!("{}/{}", self.registry.address, self.name),
        }))?;
        let (manifest_type, config_type) = if docker {
            (
                "application/vnd.docker.distribution.manifest.v2+json",
                "application/vnd.docker.container.image.v1+json",
            )
        } else {
            (
                "application/vnd.oci.image.manifest.v1+json",
                "application/vnd.oci.image.config.v1+json",
            )
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": {
                "mediaType": config_type,
                "size": config.len(),
                "digest": self.registry.put_blob(config),
            },
            "layers": layers,
        });
        let manifest = serde_json::to_vec(&manifest)?;
        let (size, digest) = (manifest.len(), self.publish(manifest, manifest_type));
        if self.format == Format::OciIndex {
            let index = index(&digest, size, manifest_type);
            self.publish(serde_json::to_vec(&index)?, INDEX);
        }
        Ok(format!("{}/{}", self.registry.address, self.name))
    }

    /// Publishes an index that names another platform alone.
    pub fn foreign_index(self) -> Result<String> {
        let index = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [foreign_manifest()],
        }))?;
        self.publish(index, INDEX);
        Ok(format!("{}/{}", self.registry.address, self.name))
    }

    fn publish(&self, manifest: Vec<u8>, media_type: &str) -> String {
        let digest = self.registry.put_blob(manifest);
        let (repository, _) = self.name.split_once(':').unwrap_or((&self.name, "latest"));
        let mut store = lock(&self.registry.store);
        for key in [self.name.clone(), format!("{repository}@{digest}")] {
            store.manifests.insert(key, (media_type.to_owned(), digest.clone()));
        }
        digest
    }
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A manifest that no test should fetch.
fn foreign_manifest() -> Value {
    json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "size": 2,
        "digest": digest(b"{}"),
        "platform": { "os": "linux", "architecture": "s390x" },
    })
}

fn index(digest: &str, size: usize, media_type: &str) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            foreign_manifest(),
            {
                "mediaType": media_type,
                "size": size,
                "digest": digest,
                "platform": { "os": "linux", "architecture": architecture() },
            },
        ],
    })
}

/// The files of the busybox image: tarred inside a container and read through ExecSync.
async fn base_layer(test: &Test) -> Result<Vec<u8>> {
    let container = test.pod().await?.idle().await?;
    let script = "cd / && tar -cf - $(ls | grep -vE '^(proc|sys|dev|tmp|run)$')";
    let response = container.exec_raw(&["sh", "-c", script], 0).await?;
    let stderr = String::from_utf8_lossy(&response.stderr);
    ensure!(response.exit_code == 0, "cannot tar the busybox image's files: {stderr}");
    Ok(response.stdout)
}

fn compress(tar: &[u8], compression: Compression) -> Result<Vec<u8>> {
    match compression {
        Compression::Plain => Ok(tar.to_vec()),
        Compression::Gzip => {
            let level = flate2::Compression::fast();
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), level);
            gzip.write_all(tar)?;
            gzip.finish().context("gzip")
        }
        Compression::Zstd => zstd::encode_all(tar, 3).context("zstd"),
    }
}

fn layer_type(compression: Compression, docker: bool) -> &'static str {
    match (docker, compression) {
        (true, Compression::Plain) => "application/vnd.docker.image.rootfs.diff.tar",
        (true, _) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
        (false, Compression::Plain) => "application/vnd.oci.image.layer.v1.tar",
        (false, Compression::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
        (false, Compression::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Appends a regular file.
pub fn file(tar: &mut Tar, path: &str, content: &[u8], mode: u32) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    tar.append_data(&mut header, path, content)
}
