// SPDX-License-Identifier: Apache-2.0
//! CNI plugins that fail, hang or lie.

use anyhow::{Result, ensure};
use tonic::Code;

use super::{Bystander, IN_TIME, PROMPT, fails};
use crate::{
    fake::{self, Plugin},
    node::Node,
    stage::Stage,
    traces,
};

/// A plugin that does as told, short deadlines.
pub fn faults(node: &Node) -> Result<()> {
    fake::plugins(node)?;
    fake::deadlines(node)
}

/// An error in CNI's words, and a plugin that dies.
pub async fn a_failing_plugin_fails_the_pod_with_its_words(stage: &mut Stage) -> Result<()> {
    let codes = [Code::Internal, Code::Unavailable];
    run_fails(stage, Plugin::RefusesAdd, &codes, "the test plugin says no").await?;
    run_fails(stage, Plugin::DiesInAdd, &codes, "bridge").await
}

/// A plugin that never answers, together with what it started.
pub async fn a_hung_plugin_is_ended_in_time(stage: &mut Stage) -> Result<()> {
    run_fails(stage, Plugin::HangsInAdd, &[Code::DeadlineExceeded], "bridge").await
}

/// Success that is none. The pod was joined to the network all the same: that is undone.
pub async fn a_lying_plugin_is_not_believed(stage: &mut Stage) -> Result<()> {
    let codes = [Code::Internal];
    run_fails(stage, Plugin::Babbles, &codes, "bridge").await?;
    run_fails(stage, Plugin::IsSilent, &codes, "bridge").await?;
    run_fails(stage, Plugin::LiesAboutAddress, &codes, "ten.eighty-six").await?;
    run_fails(stage, Plugin::GivesNoAddress, &codes, "address").await
}

async fn run_fails(stage: &Stage, plugin: Plugin, codes: &[Code], names: &str) -> Result<()> {
    let bystander = Bystander::new(stage).await?;
    let before = traces::all(&stage.node)?;
    fake::plugin(&stage.node, plugin)?;
    let config = stage.test.pod_config()?;
    let run = stage.test.run_pod(config.clone());
    fails(&format!("RunPodSandbox, {plugin:?}"), IN_TIME, run, codes, names).await?;
    fake::plugin(&stage.node, Plugin::Works)?;
    traces::none_new(&stage.node, &before).await?;
    bystander.unharmed(stage).await?;
    // The kubelet's next try, with the same config.
    let pod = stage.test.run_pod(config).await?;
    pod.ip().await?;
    Ok(())
}

/// While DEL fails or hangs, the pod cannot be removed and says so; then it can, and its address
/// is free again.
pub async fn a_failed_release_is_tried_again(stage: &mut Stage) -> Result<()> {
    let bystander = Bystander::new(stage).await?;
    for (plugin, code, limit) in [
        (Plugin::RefusesDel, Code::Internal, PROMPT),
        (Plugin::HangsInDel, Code::DeadlineExceeded, IN_TIME),
    ] {
        let (pod, _) = stage.pod_with_container().await?;
        fake::plugin(&stage.node, plugin)?;
        let what = format!("StopPodSandbox, {plugin:?}");
        fails(&what, limit, pod.stop(), &[code, Code::Unavailable], "bridge").await?;
        fails("RemovePodSandbox", limit, pod.remove(), &[code, Code::Unavailable], "bridge")
            .await?;
        ensure!(pod.listed().await?.is_some(), "a pod that keeps an address is not listed");
        fake::plugin(&stage.node, Plugin::Works)?;
        pod.stop().await?;
        pod.remove().await?;
        traces::none_of(&stage.node, &pod.id).await?;
    }
    bystander.unharmed(stage).await
}
