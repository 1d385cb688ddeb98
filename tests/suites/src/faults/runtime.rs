// SPDX-License-Identifier: Apache-2.0
//! OCI runtimes that fail or hang.

use anyhow::{Result, ensure};
use crisp_conformance::{images, pod::Pod};
use tonic::Code;

use super::{Bystander, IN_TIME, PROMPT, fails};
use crate::{
    fake::{self, Runtime},
    node::Node,
    stage::Stage,
    traces,
};

/// A handler for each behaviour, short deadlines.
pub fn faults(node: &Node) -> Result<()> {
    fake::runtimes(node)?;
    fake::deadlines(node)
}

/// Create and start that fail.
pub async fn a_runtime_that_fails_is_quoted(stage: &mut Stage) -> Result<()> {
    let bystander = Bystander::new(stage).await?;
    let says = "the test runtime says no";
    let internal = &[Code::Internal];

    let pod = pod_by(stage, Runtime::FailsInCreate).await?;
    let before = traces::all(&stage.node)?;
    let create = pod.create(|_| ());
    fails("CreateContainer", PROMPT, create, internal, says).await?;
    traces::none_new(&stage.node, &before).await?;

    let pod = pod_by(stage, Runtime::LiesInCreate).await?;
    let before = traces::all(&stage.node)?;
    let create = pod.create(|_| ());
    fails("CreateContainer that made nothing", PROMPT, create, internal, "").await?;
    traces::none_new(&stage.node, &before).await?;

    let pod = pod_by(stage, Runtime::FailsInStart).await?;
    let container = pod.create(|_| ()).await?;
    fails("StartContainer", PROMPT, container.start(), internal, says).await?;
    removable(stage, &pod).await?;
    bystander.unharmed(stage).await
}

/// Create and start that never end: the call ends at its deadline, and so does the runtime.
pub async fn a_runtime_that_hangs_is_ended_in_time(stage: &mut Stage) -> Result<()> {
    let bystander = Bystander::new(stage).await?;
    let pod = pod_by(stage, Runtime::HangsInCreate).await?;
    let before = traces::all(&stage.node)?;
    let create = pod.create(|_| ());
    fails("CreateContainer", IN_TIME, create, &[Code::DeadlineExceeded], "create").await?;
    traces::none_new(&stage.node, &before).await?;
    removable(stage, &pod).await?;

    let pod = pod_by(stage, Runtime::HangsInStart).await?;
    let container = pod.create(|_| ()).await?;
    let start = container.start();
    fails("StartContainer", IN_TIME, start, &[Code::DeadlineExceeded], "start").await?;
    removable(stage, &pod).await?;
    bystander.unharmed(stage).await
}

/// Delete that fails or hangs: what it would have done is done without it, or again later.
pub async fn a_runtime_that_cannot_delete_does_not_keep_the_pod(stage: &mut Stage) -> Result<()> {
    let bystander = Bystander::new(stage).await?;
    for behaviour in [Runtime::FailsInDelete, Runtime::HangsInDelete] {
        let pod = pod_by(stage, behaviour).await?;
        let container = pod.idle().await?;
        let process = stage.process(&container).await?;
        let began = std::time::Instant::now();
        let stopped = pod.stop().await;
        ensure!(
            began.elapsed() < IN_TIME,
            "{behaviour:?}: StopPodSandbox took {:?}",
            began.elapsed()
        );
        ensure!(
            !process.is_alive(),
            "{behaviour:?}: the container runs on after StopPodSandbox said {stopped:?}"
        );
        if let Err(error) = stopped {
            println!("        {behaviour:?}: {error}");
            fake::heal_runtimes(&stage.node)?;
        }
        removable(stage, &pod).await?;
        let _ = std::fs::remove_file(stage.node.dir().join("runtimes-work"));
    }
    bystander.unharmed(stage).await
}

async fn pod_by(stage: &Stage, behaviour: Runtime) -> Result<Pod> {
    stage.test.ensure_image(images::BUSYBOX).await?;
    Ok(stage.test.run_pod_by(stage.test.pod_config()?, &behaviour.handler()).await?)
}

async fn removable(stage: &Stage, pod: &Pod) -> Result<()> {
    pod.stop().await?;
    pod.remove().await?;
    traces::none_of(&stage.node, &pod.id).await
}
