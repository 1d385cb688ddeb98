// SPDX-License-Identifier: Apache-2.0
//! `crisp status`.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use crisp_conformance::want::{contains, equal, within};

use super::{report, status};
use crate::{
    fake::{self, Plugin},
    stage::Stage,
};

/// A living daemon tells of each pod, its shim with version and memory, and of the images.
pub async fn status_tells_of_pods_shims_and_images(stage: &mut Stage) -> Result<()> {
    let (pod, _) = stage.pod_with_container().await?;
    let json = report(stage).await?;
    equal("failure", &json["failure"], &serde_json::Value::Null)?;
    equal("pid", json["daemon"]["boot"]["pid"].as_u64(), Some(stage.node.pid()?.into()))?;
    let conditions = json["conditions"].as_array().context("no conditions")?;
    ensure!(conditions.iter().all(|condition| condition["holds"] == true), "{conditions:?}");
    let pods = json["pods"].as_array().context("no pods")?;
    let shown = pods.iter().find(|shown| shown["id"] == pod.id.as_str());
    let shown = shown.with_context(|| format!("pod {} is not in {pods:?}", pod.id))?;
    equal("state", shown["state"].as_str(), Some("ready"))?;
    let shim = &shown["shim"];
    equal("shim's pid", shim["pid"].as_u64(), Some(stage.shim_of(&pod)?.into()))?;
    ensure!(shim["version"].as_str().is_some_and(|v| !v.is_empty()), "no version: {shim}");
    ensure!(shim["memory"].as_u64().is_some_and(|bytes| bytes > 50_000), "no memory: {shim}");
    ensure!(shim["lives"] == true, "{shim}");
    equal("containers", shown["containers"][0]["state"].as_str(), Some("running"))?;
    ensure!(json["images"]["bytes"].as_u64().is_some_and(|b| b > 0), "{}", json["images"]);
    ensure!(json["pending"].as_array().is_some_and(Vec::is_empty), "{}", json["pending"]);

    let text = status(stage, &[]).await?;
    ensure!(text.success, "status of a living daemon fails: {}", text.err);
    for part in ["RuntimeReady  yes", "NetworkReady  yes", "1 pods, 1 ready", "(default)"] {
        contains("crisp status", &text.out, part)?;
    }
    contains("crisp status", &text.out, &pod.id[..12])
}

/// A dead one is called dead, and its pods are still told of.
pub async fn status_of_a_dead_daemon_is_read_from_its_records(stage: &mut Stage) -> Result<()> {
    let (pod, _) = stage.pod_with_container().await?;
    let shim = stage.shim_of(&pod)?;
    let pid = stage.node.pid()?;
    stage.node.kill().await?;

    let text = status(stage, &[]).await?;
    ensure!(!text.success, "status of a dead daemon is a success");
    contains("errors", &text.err, "does not answer")?;
    for part in ["THE DAEMON DOES NOT ANSWER", &format!("pid {pid}"), "is gone", &pod.id[..12]] {
        contains("crisp status", &text.out, part)?;
    }
    let json = report(stage).await?;
    ensure!(json["failure"].is_string(), "no failure: {json}");
    equal("the pod's shim", json["pods"][0]["shim"]["pid"].as_u64(), Some(shim.into()))?;
    ensure!(json["pods"][0]["shim"]["lives"] == true, "the shim lives: {json}");
    equal("container", json["pods"][0]["containers"][0]["state"].as_str(), Some("running"))?;

    stage.node.start().await?;
    let json = report(stage).await?;
    equal("starts", json["daemon"]["boot"]["starts"].as_u64(), Some(2))
}

/// A plugin that never answers: `crisp status` names the stage while it goes on, and says so when
/// it goes on for too long.
pub async fn a_step_that_hangs_is_shown_with_its_limit(stage: &mut Stage) -> Result<()> {
    let (pod, _) = stage.pod_with_container().await?;
    fake::plugin(&stage.node, Plugin::HangsInDel)?;
    let stopping = pod.stop();
    tokio::pin!(stopping);
    let shown = async {
        within(Duration::from_secs(3), "the stage is shown", async || {
            let json = report(stage).await?;
            let stages = json["stages"].as_array().context("no stages")?.clone();
            let found = stages.iter().find(|stage| stage["stage"] == "network-undo").cloned();
            Ok(found.ok_or_else(|| format!("{stages:?}")))
        })
        .await
    };
    let found = tokio::select! {
        ended = &mut stopping => anyhow::bail!("the stop ended first: {ended:?}"),
        found = shown => found?,
    };
    equal("object", found["object"].as_str(), Some(pod.id.as_str()))?;
    equal("limit", found["limitS"].as_u64(), Some(fake::DEADLINE))?;
    ensure!(stopping.await.is_err(), "a plugin that hangs is taken for one that works");
    // What could not be put back is shown until it could.
    let json = report(stage).await?;
    let pending = json["pending"].to_string();
    contains("pending", &pending, &pod.id)?;
    contains("pending", &pending, "network")?;
    fake::plugin(&stage.node, Plugin::Works)?;
    pod.stop().await?;
    let json = report(stage).await?;
    ensure!(json["pending"].as_array().is_some_and(Vec::is_empty), "{}", json["pending"]);
    Ok(())
}
