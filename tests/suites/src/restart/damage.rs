// SPDX-License-Identifier: Apache-2.0
//! One pod's records or shim are broken; the others go on, and the broken one can be removed.

use std::{fs, time::Duration};

use anyhow::Result;
use crisp_conformance::{
    container::Container,
    pod::Pod,
    want::{equal, so, within},
};
use crisp_cri::{ContainerState, PodSandboxState};
use nix::sys::signal::Signal;

use crate::{proc, stage::Stage, traces};

/// Neither half a record nor an empty one hides the pod.
pub async fn a_corrupt_pod_record_stops_no_other_pod(stage: &mut Stage) -> Result<()> {
    for content in [&b"{\"version\":1,\"id\":"[..], b"", b"\xff\xfe not json"] {
        let (good, broken) = (stage.pod_with_container().await?, stage.pod_with_container().await?);
        let process = stage.process(&good.1).await?;
        stage.node.kill().await?;
        let record = stage.node.run().join("pods").join(&broken.0.id).join("pod.json");
        fs::write(record, content)?;
        stage.node.start().await?;
        still_there(stage, &good.1, process).await?;
        not_ready_and_removable(stage, &broken.0).await?;
        good.0.stop().await?;
        good.0.remove().await?;
        traces::none_left(&stage.node).await?;
    }
    Ok(())
}

/// A container whose record cannot be read does not keep its pod from being removed.
pub async fn a_corrupt_container_record_stops_no_other_container(stage: &mut Stage) -> Result<()> {
    let (pod, good) = stage.pod_with_container().await?;
    let broken = pod.idle().await?;
    let process = stage.process(&good).await?;
    stage.node.kill().await?;
    let record = stage.node.run().join("containers").join(&broken.id).join("container.json");
    fs::write(record, "{")?;
    stage.node.start().await?;
    still_there(stage, &good, process).await?;
    pod.stop().await?;
    pod.remove().await?;
    traces::none_left(&stage.node).await
}

/// SIGKILL of a shim under a daemon that runs.
pub async fn a_dead_shim_leaves_its_pod_listed_and_removable(stage: &mut Stage) -> Result<()> {
    let (good, broken) = (stage.pod_with_container().await?, stage.pod_with_container().await?);
    let process = stage.process(&good.1).await?;
    kill_shim(stage, &broken.0)?;
    not_ready(&broken.0).await?;
    let status = broken.1.exited().await?;
    so("an exit that nobody saw is no success", status.exit_code != 0, &status)?;
    still_there(stage, &good.1, process).await?;
    not_ready_and_removable(stage, &broken.0).await
}

/// SIGKILL of a shim while there is no daemon.
pub async fn a_shim_that_died_during_the_outage_is_noticed(stage: &mut Stage) -> Result<()> {
    let (good, broken) = (stage.pod_with_container().await?, stage.pod_with_container().await?);
    let process = stage.process(&good.1).await?;
    stage.node.kill().await?;
    kill_shim(stage, &broken.0)?;
    stage.node.start().await?;
    still_there(stage, &good.1, process).await?;
    let state = broken.1.status().await?.state();
    equal("state of its container", state, ContainerState::ContainerExited)?;
    not_ready_and_removable(stage, &broken.0).await
}

fn kill_shim(stage: &Stage, pod: &Pod) -> Result<()> {
    proc::signal(stage.shim_of(pod)?, Signal::SIGKILL)
}

async fn still_there(stage: &Stage, container: &Container, process: proc::Process) -> Result<()> {
    equal("the other pod's process", stage.process(container).await?, process)?;
    equal("output of an exec in the other pod", container.sh("echo here").await?, "here")
}

async fn not_ready(pod: &Pod) -> Result<()> {
    within(Duration::from_secs(10), "the broken pod is listed as not ready", || async {
        let listed = pod.listed().await?;
        let state = listed.as_ref().map(|pod| pod.state());
        Ok(match state {
            Some(PodSandboxState::SandboxNotready) => Ok(()),
            seen => Err(format!("{seen:?}")),
        })
    })
    .await
}

async fn not_ready_and_removable(stage: &Stage, pod: &Pod) -> Result<()> {
    not_ready(pod).await?;
    pod.stop().await?;
    pod.remove().await?;
    equal("the broken pod is gone", pod.listed().await?, None)?;
    traces::none_of(&stage.node, &pod.id).await
}
