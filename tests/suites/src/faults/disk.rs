// SPDX-License-Identifier: Apache-2.0
//! Full file systems.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use crisp_conformance::{images, want::equal};
use nix::mount::{MsFlags, mount};
use tonic::Code;

use super::fails;
use crate::{node::Node, stage::Stage, traces};

const LIMIT: Duration = Duration::from_secs(20);
const FULL: &[Code] = &[Code::ResourceExhausted];

/// A root directory that no image fits into.
pub fn small_root(node: &Node) -> Result<()> {
    small(&node.root(), "900k")
}

/// A run directory that can be filled.
pub fn small_run(node: &Node) -> Result<()> {
    small(&node.run(), "4m")
}

fn small(dir: &Path, size: &str) -> Result<()> {
    fs::create_dir_all(dir)?;
    let options = format!("size={size},mode=0755");
    let none = MsFlags::empty();
    mount(Some("small"), dir, Some("tmpfs"), none, Some(options.as_str()))
        .with_context(|| format!("mount tmpfs on {}", dir.display()))
}

/// The pull fails; nothing of the image stays; with room again it succeeds.
pub async fn a_pull_onto_a_full_disk_leaves_nothing(stage: &mut Stage) -> Result<()> {
    let before = used(&stage.node.root())?;
    let pull = stage.test.pull(images::BUSYBOX);
    fails("PullImage", LIMIT, pull, FULL, "o space left").await?;
    equal("images after the failed pull", stage.test.images().await?.len(), 0)?;
    for _ in 0..50 {
        if used(&stage.node.root())? <= before + (64 << 10) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let after = used(&stage.node.root())?;
    ensure!(after <= before + (64 << 10), "a failed pull left {} bytes", after - before);
    resize(&stage.node.root(), "64m")?;
    stage.pod_with_container().await.map(drop)
}

/// RunPodSandbox and CreateContainer fail; nothing of them stays; with room again they succeed.
pub async fn a_pod_on_a_full_run_directory_leaves_nothing(stage: &mut Stage) -> Result<()> {
    let (pod, container) = stage.pod_with_container().await?;
    let process = stage.process(&container).await?;
    let before = traces::all(&stage.node)?;
    let ballast = stage.node.run().join("ballast");
    fill(&ballast)?;
    let run = stage.test.run_pod(stage.test.pod_config()?);
    fails("RunPodSandbox", LIMIT, run, FULL, "o space left").await?;
    let create = pod.create_unpulled(pod.container_config());
    fails("CreateContainer", LIMIT, create, FULL, "o space left").await?;
    let exec = container.exec_raw(&["true"], 5);
    fails("ExecSync", LIMIT, exec, FULL, "o space left").await?;
    equal("its process", stage.process(&container).await?, process)?;
    traces::none_new(&stage.node, &before).await?;
    fs::remove_file(&ballast)?;
    stage.pod_with_container().await?;
    // What is full must not stand in the way of making room.
    fill(&ballast)?;
    container.stop(0).await?;
    equal("exit code of the killed container", container.status().await?.exit_code, 137)?;
    pod.stop().await?;
    pod.remove().await?;
    Ok(fs::remove_file(&ballast)?)
}

/// Writes until nothing fits any more.
fn fill(path: &Path) -> Result<()> {
    use std::io::Write as _;
    let mut file = fs::File::create(path)?;
    for block in [64 << 10, 4 << 10, 1] {
        while file.write_all(&vec![0; block]).is_ok() {}
    }
    Ok(())
}

fn resize(dir: &Path, size: &str) -> Result<()> {
    let options = format!("size={size},mode=0755");
    mount(Some("small"), dir, Some("tmpfs"), MsFlags::MS_REMOUNT, Some(options.as_str()))
        .with_context(|| format!("remount {}", dir.display()))
}

fn used(dir: &Path) -> Result<u64> {
    let stat = nix::sys::statvfs::statvfs(dir)?;
    Ok((stat.blocks() - stat.blocks_free()) * stat.fragment_size())
}
