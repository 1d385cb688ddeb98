// SPDX-License-Identifier: Apache-2.0
//! `crisp check`.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use crisp_conformance::want::{contains, equal, within};

use super::{Said, crisp};
use crate::{node::Node, stage::Stage};

const IMAGE: &str = "registry.k8s.io/e2e-test-images/busybox:1.29-2";

/// A file changed in a layer, a config and a layer lost: each is found, nothing else is, and all
/// is fetched again, by digest.
pub async fn a_damaged_store_is_found_out_and_mended(stage: &mut Stage) -> Result<()> {
    let id = stage.test.pull(IMAGE).await?;
    let before = stage.test.image_status(IMAGE).await?.context("no image after a pull")?;
    let layers = sealed(&stage.node).await?;
    let said = check(&stage.node, &[]).await?;
    ensure!(said.success, "a whole store is called broken: {} {}", said.out, said.err);
    ensure!(!said.out.contains("BROKEN"), "{}", said.out);

    let layer = layers.iter().find_map(|layer| any_file(&layer.join("diff"))).context("no file")?;
    let mut bytes = fs::read(&layer)?;
    bytes.push(b'!');
    fs::write(&layer, bytes)?;
    let said = check(&stage.node, &[]).await?;
    ensure!(!said.success, "a changed file is not noticed: {}", said.out);
    equal("broken things", said.out.matches("BROKEN").count(), 1)?;
    contains("crisp check", &said.out, "its files are not what was unpacked")?;
    contains("crisp check", &said.out, &format!("breaks image {IMAGE}"))?;

    let said = check(&stage.node, &["--repair"]).await?;
    ensure!(!said.success, "a store in use was repaired");
    contains("errors", &said.err, "stop the daemon first")?;
    mend(stage, &[IMAGE]).await?;

    let hex = id.trim_start_matches("sha256:");
    let images = stage.node.root().join("images");
    fs::write(images.join(format!("{hex}.config")), "{}")?;
    fs::remove_dir_all(&layers[0])?;
    let said = check(&stage.node, &[]).await?;
    contains("crisp check", &said.out, "it does not have its digest")?;
    contains("crisp check", &said.out, "it is not there")?;
    mend(stage, &[IMAGE]).await?;
    equal("broken image, mended", stage.test.image_status(IMAGE).await?, Some(before))?;

    fs::write(images.join(format!("{hex}.json")), "{\"version\":")?;
    let said = check(&stage.node, &[]).await?;
    contains("crisp check", &said.out, &format!("BROKEN image record {hex}.json"))?;
    stage.node.kill().await?;
    let said = check(&stage.node, &["--repair"]).await?;
    ensure!(said.success, "{} {}", said.out, said.err);
    contains("crisp check --repair", &said.out, "removed: image record")?;
    stage.node.start().await?;
    equal("an image without its record", stage.test.image_status(IMAGE).await?, None)
}

/// A layer that a container stands on is not pulled from under it.
pub async fn a_broken_layer_in_use_is_left_to_its_container(stage: &mut Stage) -> Result<()> {
    let (pod, container) = stage.pod_with_container().await?;
    let layers = sealed(&stage.node).await?;
    fs::write(layers[0].join("diff/intruder"), "x")?;
    stage.node.kill().await?;
    let said = check(&stage.node, &["--repair"]).await?;
    ensure!(!said.success, "what is in use was repaired: {}", said.out);
    contains(
        "crisp check --repair",
        &said.out,
        &format!("container {} stands on it", container.id),
    )?;
    stage.node.start().await?;
    equal("the container", container.sh("echo here").await?.as_str(), "here")?;
    pod.stop().await?;
    pod.remove().await?;
    stage.node.kill().await?;
    let said = check(&stage.node, &["--repair"]).await?;
    ensure!(said.success, "{} {}", said.out, said.err);
    stage.node.start().await?;
    ensure!(!layers[0].join("diff/intruder").exists(), "the broken layer is still there");
    Ok(())
}

async fn mend(stage: &mut Stage, images: &[&str]) -> Result<()> {
    stage.node.kill().await?;
    let said = check(&stage.node, &["--repair"]).await?;
    ensure!(said.success, "not repaired: {} {}", said.out, said.err);
    for image in images {
        contains("crisp check --repair", &said.out, &format!("fetched again: {image}"))?;
    }
    stage.node.start().await?;
    sealed(&stage.node).await?;
    let said = check(&stage.node, &[]).await?;
    ensure!(said.success, "still broken: {}", said.out);
    Ok(())
}

async fn check(node: &Node, more: &[&str]) -> Result<Said> {
    let config = node.config().display().to_string();
    let mut args = vec!["check", "--config", &config];
    args.extend(more);
    crisp(node, &args).await
}

/// Directories of all layers, once all are sealed.
async fn sealed(node: &Node) -> Result<Vec<PathBuf>> {
    within(Duration::from_secs(120), "all layers are sealed", async || {
        let mut layers = Vec::new();
        for entry in fs::read_dir(node.root().join("layers"))? {
            let path = entry?.path();
            if path.join("layer.json").exists() {
                layers.push(path);
            }
        }
        layers.sort();
        let bare = layers.iter().find(|layer| !layer.join("seal").exists());
        Ok(match bare {
            None => Ok(layers),
            Some(bare) => Err(format!("{} is not", bare.display())),
        })
    })
    .await
}

/// A file with something in it.
fn any_file(dir: &std::path::Path) -> Option<PathBuf> {
    let entries: Vec<_> = fs::read_dir(dir).ok()?.flatten().collect();
    entries.into_iter().find_map(|entry| {
        let (kind, path) = (entry.file_type().ok()?, entry.path());
        let full = kind.is_file() && entry.metadata().is_ok_and(|meta| meta.len() > 0);
        if kind.is_dir() { any_file(&path) } else { full.then_some(path) }
    })
}
