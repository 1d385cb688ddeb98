// SPDX-License-Identifier: Apache-2.0
//! What the daemon was making when it was killed.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use crisp_conformance::want::equal;
use crisp_cri::{CreateContainerRequest, RunPodSandboxRequest};

use crate::{
    fake::{self, Plugin, Runtime},
    node::Node,
    stage::Stage,
    traces,
};

/// A network whose plugin can be told to hang.
pub fn wrapped_network(node: &Node) -> Result<()> {
    fake::plugins(node)
}

/// An OCI runtime that can be told to hang.
pub fn wrapped_runtime(node: &Node) -> Result<()> {
    fake::runtimes(node)?;
    fake::deadlines(node)
}

/// Killed in CNI ADD, with the shim and its sandbox made beside it.
pub async fn a_pod_in_the_making_is_undone(stage: &mut Stage) -> Result<()> {
    let (other, container) = stage.pod_with_container().await?;
    let process = stage.process(&container).await?;
    let before = entries(&stage.node)?;
    fake::plugin(&stage.node, Plugin::HangsInAdd)?;
    let config = stage.test.pod_config()?;
    let request = RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
    let (cri, asked) = (stage.cri().clone(), request.clone());
    let run = tokio::spawn(async move { cri.run_pod_sandbox(asked).await.map(drop) });
    until(|| entries(&stage.node).is_ok_and(|now| now > before)).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    stage.node.kill().await?;
    ensure!(run.await?.is_err(), "RunPodSandbox was answered by a killed daemon");
    fake::plugin(&stage.node, Plugin::Works)?;
    stage.node.start().await?;
    equal("pods after the restart", stage.pods().await?, vec![other.id.clone()])?;
    equal("directories of pods", entries(&stage.node)?, before)?;
    equal("the other pod's process", stage.process(&container).await?, process)?;
    let retried = stage.test.run_pod(config).await?;
    ensure!(retried.id != other.id, "the retry got another's pod");
    retried.idle().await?;
    Ok(())
}

/// Killed while the OCI runtime makes a container. The shim ends the runtime's work by itself or
/// finishes it; in either case the container nobody was told of is gone after the restart.
pub async fn a_container_in_the_making_is_undone(stage: &mut Stage) -> Result<()> {
    let handler = Runtime::HangsInCreate.handler();
    let pod = stage.test.run_pod_by(stage.test.pod_config()?, &handler).await?;
    stage.test.ensure_image(crisp_conformance::images::BUSYBOX).await?;
    let request = CreateContainerRequest {
        pod_sandbox_id: pod.id.clone(),
        config: Some(pod.container_config()),
        sandbox_config: Some(pod.config.clone()),
    };
    let cri = stage.cri().clone();
    let create = tokio::spawn(async move { cri.create_container(request).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(700)).await;
    stage.node.kill().await?;
    ensure!(create.await?.is_err(), "CreateContainer was answered by a killed daemon");
    stage.node.start().await?;
    equal("containers of the pod", pod.containers().await?.len(), 0)?;
    pod.stop().await?;
    pod.remove().await?;
    traces::none_left(&stage.node).await
}

/// Killed while the OCI runtime starts a container. The shim goes on with that; whoever asks again
/// is told that the container runs, and it can be stopped and removed.
pub async fn a_start_under_way_is_found_again(stage: &mut Stage) -> Result<()> {
    let handler = Runtime::SlowInStart.handler();
    let pod = stage.test.run_pod_by(stage.test.pod_config()?, &handler).await?;
    let container = pod.create(|_| ()).await?;
    let start = {
        let container = container.clone();
        tokio::spawn(async move { container.start().await })
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    stage.node.again().await?;
    ensure!(start.await?.is_err(), "StartContainer was answered by a killed daemon");
    container.start().await?;
    equal("output of an exec", container.sh("echo here").await?, "here")?;
    let process = stage.process(&container).await?;
    pod.stop().await?;
    pod.remove().await?;
    ensure!(!process.is_alive(), "the container outlives its pod");
    traces::none_left(&stage.node).await
}

fn entries(node: &Node) -> Result<usize> {
    Ok(std::fs::read_dir(node.run().join("pods"))?.count())
}

async fn until(mut holds: impl FnMut() -> bool) -> Result<()> {
    let began = Instant::now();
    while !holds() {
        ensure!(began.elapsed() < Duration::from_secs(20), "the pod's making does not begin");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
