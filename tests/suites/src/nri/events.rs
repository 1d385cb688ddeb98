// SPDX-License-Identifier: Apache-2.0
//! What plugins hear.

use anyhow::{Context as _, Result};
use crisp_conformance::want::{equal, so};
use crisp_cri::{LinuxContainerResources, UpdatePodSandboxResourcesRequest};
use serde_json::{Value, json};

use super::plugin::Plugin;
use crate::stage::Stage;

/// A whole life, each event once, in order, with the facts of its moment.
pub async fn every_event_is_heard_once_and_in_order(stage: &mut Stage) -> Result<()> {
    let plugin = Plugin::connect(stage, "10", "a", &json!({})).await?;
    let pod = stage.test.pod().await?;
    let container = pod.create(|_| ()).await?;
    container.start().await?;
    let limits = LinuxContainerResources { cpu_shares: 300, ..Default::default() };
    container.update(limits.clone()).await?;
    // What became of a container is told beside what is asked of its pod.
    plugin.hears("PostUpdateContainer", &container.name()).await?;
    let sums = UpdatePodSandboxResourcesRequest {
        pod_sandbox_id: pod.id.clone(),
        resources: Some(limits),
        ..Default::default()
    };
    stage.cri().update_pod_sandbox_resources(sums).await?;
    plugin.hears("PostUpdatePodSandbox", "").await?;
    container.stop(0).await?;
    container.remove().await?;
    pod.stop().await?;
    // A second stop is no event.
    pod.stop().await?;
    pod.remove().await?;
    plugin.hears("RemovePodSandbox", "").await?;
    let expected = [
        "Configure",
        "Synchronize",
        "RunPodSandbox",
        "CreateContainer",
        "ValidateContainerAdjustment",
        "PostCreateContainer",
        "StartContainer",
        "PostStartContainer",
        "UpdateContainer",
        "PostUpdateContainer",
        "UpdatePodSandbox",
        "PostUpdatePodSandbox",
        "StopContainer",
        "RemoveContainer",
        "StopPodSandbox",
        "RemovePodSandbox",
    ];
    equal("the events", plugin.events(), expected)?;

    let metadata = pod.config.metadata.clone().unwrap_or_default();
    let run = plugin.hears("RunPodSandbox", "").await?;
    equal("name of the pod", &run.pod, &metadata.name)?;
    equal("uid of the pod", &run.detail["uid"], &Value::from(metadata.uid))?;
    so("the pod has an address", run.detail["ips"][0].is_string(), &run.detail)?;
    let create = plugin.hears("CreateContainer", &container.name()).await?;
    equal("id of the container", &create.detail["id"], &Value::from(container.id.clone()))?;
    so("it has arguments", create.detail["args"][0].is_string(), &create.detail)?;
    let started = plugin.hears("PostStartContainer", &container.name()).await?;
    so("it has a pid", started.detail["pid"].as_u64() > Some(1), &started.detail)?;
    equal("its state", &started.detail["state"], &Value::from("CONTAINER_RUNNING"))?;
    let updated = plugin.hears("PostUpdateContainer", &container.name()).await?;
    so("its spec is told", updated.detail["mounts"][0].is_object(), &updated.detail)?;
    let stopped = plugin.hears("StopContainer", &container.name()).await?;
    equal("its last state", &stopped.detail["state"], &Value::from("CONTAINER_STOPPED"))
}

/// A container that ends without anyone's call is heard of, with its exit code.
pub async fn an_exit_by_itself_is_heard(stage: &mut Stage) -> Result<()> {
    let plugin = Plugin::connect(stage, "10", "a", &json!({})).await?;
    let pod = stage.test.pod().await?;
    let container = pod.script("exit 3").await?;
    let stopped = plugin.hears("StopContainer", &container.name()).await?;
    equal("exit code", stopped.detail["exitCode"].as_i64(), Some(3))?;
    container.exited().await?;
    container.remove().await?;
    plugin.hears("RemoveContainer", &container.name()).await?;
    let ends = plugin.events().iter().filter(|event| *event == "StopContainer").count();
    equal("StopContainer events", ends, 1)
}

/// A ttrpc message has at most 4 MiB; the node's pods may be more.
pub async fn a_plugin_is_synchronized_in_pieces_where_one_message_is_too_long(
    stage: &mut Stage,
) -> Result<()> {
    let mut names = Vec::new();
    for _ in 0..3 {
        let pod = stage
            .test
            .pod_with(|config| {
                let bulk = "x".repeat(2 << 20);
                config.annotations.insert("crisp.test/bulk".into(), bulk);
            })
            .await?;
        names.push(pod.config.metadata.unwrap_or_default().name);
    }
    let plugin = Plugin::connect(stage, "10", "a", &json!({})).await?;
    let mut told = plugin.hears("Synchronize", "").await?.pods;
    told.sort();
    names.sort();
    equal("pods it is told of", told, names)
}

/// The index orders, not who came first; each sees what those before it changed.
pub async fn plugins_are_asked_in_the_order_of_their_indices(stage: &mut Stage) -> Result<()> {
    let env = |key: &str| json!({ "adjust": { "*": { "env": [{ "key": key, "value": "1" }] } } });
    let last = Plugin::connect(stage, "90", "last", &env("LAST")).await?;
    let first = Plugin::connect(stage, "05", "first", &env("FIRST")).await?;
    let middle = Plugin::connect(stage, "50", "middle", &env("MIDDLE")).await?;
    let pod = stage.test.pod().await?;
    let container = pod.idle().await?;
    last.hears("PostStartContainer", &container.name()).await?;
    for event in ["RunPodSandbox", "CreateContainer", "StartContainer", "PostStartContainer"] {
        let heard = last.all_heard().into_iter().filter(|heard| heard.event == event);
        let order: Vec<_> = heard.map(|heard| heard.plugin).collect();
        equal(event, order, ["first", "middle", "last"])?;
    }
    let sees = |plugin: &Plugin, key: &str| -> Result<bool> {
        let heard = plugin.heard();
        let create = heard.iter().find(|heard| heard.event == "CreateContainer");
        let env = &create.context("no CreateContainer")?.detail["env"];
        Ok(env.as_array().is_some_and(|env| env.contains(&format!("{key}=1").into())))
    };
    let seen = [sees(&first, "FIRST")?, sees(&middle, "FIRST")?, sees(&middle, "LAST")?];
    equal("who sees whose change", seen, [false, true, false])?;
    equal("the last one sees both", (sees(&last, "FIRST")?, sees(&last, "MIDDLE")?), (true, true))?;
    equal("the variables", container.sh("echo $FIRST$MIDDLE$LAST").await?, "111")
}
