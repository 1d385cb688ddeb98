// SPDX-License-Identifier: Apache-2.0
//! What plugins change of containers that are there.

use std::time::Duration;

use anyhow::{Result, ensure};
use crisp_conformance::{
    container::Container,
    want::{equal, within},
};
use crisp_cri::LinuxContainerResources;
use serde_json::{Value, json};
use tokio::process::Command;

use super::plugin::{Plugin, program, socket};
use crate::stage::Stage;

/// An update of a container's CPU shares.
fn shares(container: &str, shares: u64) -> Value {
    json!({
        "containerId": container,
        "linux": { "resources": { "cpu": { "shares": { "value": shares.to_string() } } } },
    })
}

/// The container's CPU weight as the kernel has it: shares, or their weight on cgroup v2.
async fn weight(container: &Container) -> Result<String> {
    container.cgroup("cpu/cpu.shares", "cpu.weight").await
}

async fn has_shares(container: &Container, shares: i64) -> Result<()> {
    within(Duration::from_secs(10), "the shares in the status", || async {
        let status = container.status().await?;
        let linux = status.resources.and_then(|all| all.linux).unwrap_or_default();
        let came = linux.cpu_shares;
        Ok(if came == shares { Ok(()) } else { Err(came.to_string()) })
    })
    .await?;
    // Only v1 shows shares as they are.
    let kernel = weight(container).await?;
    let v1 = std::path::Path::new("/sys/fs/cgroup/cpu").exists();
    ensure!(!v1 || kernel == shares.to_string(), "cpu.shares: expected {shares}, came {kernel}");
    Ok(())
}

/// In the answer to CreateContainer.
pub async fn a_creation_changes_another_container(stage: &mut Stage) -> Result<()> {
    let plugin = Plugin::connect(stage, "10", "a", &json!({})).await?;
    let (_, one) = stage.pod_with_container().await?;
    plugin.obey(&json!({ "update": { "CreateContainer": [shares(&one.id, 345)] } }))?;
    let (_, two) = stage.pod_with_container().await?;
    has_shares(&one, 345).await?;
    // In the same pod it is no different.
    plugin.obey(&json!({ "update": { "CreateContainer": [shares(&two.id, 346)] } }))?;
    two.pod.idle().await?;
    has_shares(&two, 346).await
}

/// In the answer to UpdateContainer: the request itself, and another container.
pub async fn an_update_is_changed_on_its_way(stage: &mut Stage) -> Result<()> {
    let plugin = Plugin::connect(stage, "10", "a", &json!({})).await?;
    let (_, one) = stage.pod_with_container().await?;
    let (_, two) = stage.pod_with_container().await?;
    let updates = [shares(&one.id, 400), shares(&two.id, 500)];
    plugin.obey(&json!({ "update": { "UpdateContainer": updates } }))?;
    let asked = LinuxContainerResources {
        cpu_shares: 100,
        memory_limit_in_bytes: 64 << 20,
        ..Default::default()
    };
    one.update(asked).await?;
    has_shares(&one, 400).await?;
    has_shares(&two, 500).await?;
    let memory = one.cgroup("memory/memory.limit_in_bytes", "memory.max").await?;
    equal("what the plugin left alone", memory, (64 << 20).to_string())
}

/// In the answer to StopContainer.
pub async fn the_end_of_a_container_gives_to_another(stage: &mut Stage) -> Result<()> {
    let plugin = Plugin::connect(stage, "10", "a", &json!({})).await?;
    let (_, one) = stage.pod_with_container().await?;
    let (_, two) = stage.pod_with_container().await?;
    plugin.obey(&json!({ "update": { "StopContainer": [shares(&two.id, 600)] } }))?;
    one.stop(0).await?;
    has_shares(&two, 600).await
}

/// By the runtime's own service.
pub async fn containers_are_changed_and_evicted_unasked(stage: &mut Stage) -> Result<()> {
    let mut plugin = Plugin::connect(stage, "10", "a", &json!({})).await?;
    let (pod, one) = stage.pod_with_container().await?;
    let answer = plugin.update(&json!([shares(&one.id, 700), shares("no-such", 1)])).await?;
    equal("updates that failed", answer.failed, ["no-such"])?;
    has_shares(&one, 700).await?;

    let two = pod.script("trap 'exit 4' TERM; echo ready; while :; do sleep 0.1; done").await?;
    two.logged("ready").await?;
    let mut evict = Command::new(program(&stage.node));
    evict.arg("-socket").arg(socket(&stage.node)).args(["-evict", &two.id]);
    ensure!(evict.status().await?.success(), "the eviction was refused");
    equal("exit code of the evicted container", two.exited().await?.exit_code, 4)?;
    equal("output of the other container", one.sh("echo here").await?, "here")
}
