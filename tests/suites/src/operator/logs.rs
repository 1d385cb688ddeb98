// SPDX-License-Identifier: Apache-2.0
//! The daemon's own log.

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::{node::Node, stage::Stage};

/// One JSON object a line.
pub fn as_json(node: &Node) -> Result<()> {
    node.reword("log_level = \"debug\"", "log_level = \"info\"\nlog_format = \"json\"")
}

/// Every line about a call that changes a pod or a container holds its id in a field of its own.
pub async fn each_line_of_a_pods_life_names_it(stage: &mut Stage) -> Result<()> {
    let (pod, container) = stage.pod_with_container().await?;
    container.stop(0).await?;
    container.remove().await?;
    pod.stop().await?;
    pod.remove().await?;
    let lines: Vec<Value> =
        stage.node.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for (method, id) in [
        ("RunPodSandbox", &pod.id),
        ("CreateContainer", &container.id),
        ("StartContainer", &container.id),
        ("StopContainer", &container.id),
        ("RemoveContainer", &container.id),
        ("StopPodSandbox", &pod.id),
        ("RemovePodSandbox", &pod.id),
    ] {
        let of_call: Vec<_> =
            lines.iter().filter(|line| line["span"]["method"] == method).collect();
        ensure!(!of_call.is_empty(), "no line for {method}");
        let named = of_call.iter().any(|line| line["span"]["id"] == id.as_str());
        ensure!(named, "no line for {method} names {id}: {of_call:?}");
        if method == "CreateContainer" {
            let whose = of_call.iter().any(|line| line["span"]["pod"] == pod.id.as_str());
            ensure!(whose, "no line for {method} names the pod: {of_call:?}");
        }
    }
    Ok(())
}
