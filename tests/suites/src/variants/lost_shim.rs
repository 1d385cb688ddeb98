// SPDX-License-Identifier: Apache-2.0
//! A shim of another's that dies.

use std::time::Duration;

use anyhow::{Result, ensure};
use crisp_conformance::want::equal;
use crisp_cri::PodSandboxState;
use nix::sys::signal::Signal;

use crate::{proc, stage::Stage, traces};

/// The pod is told to be not ready, its container to have ended for an unknown reason; what ran is
/// ended, and all of it can be removed.
pub async fn its_pod_is_not_ready_and_can_be_removed(stage: &mut Stage) -> Result<()> {
    let (other, _) = stage.pod_with_container().await?;
    let (pod, container) = stage.pod_with_container().await?;
    let process = stage.process(&container).await?;
    let shim = stage.shim_pid(&pod).await?;
    proc::signal(shim, Signal::SIGKILL)?;

    let status = container.exited_within(Duration::from_secs(20)).await?;
    equal("reason of the exit", status.reason.as_str(), "Unknown")?;
    equal("state of the pod", pod.status().await?.state(), PodSandboxState::SandboxNotready)?;
    ensure!(!process.is_alive(), "its container runs on");
    pod.stop().await?;
    pod.remove().await?;
    traces::none_of(&stage.node, &pod.id).await?;
    equal("state of another pod", other.status().await?.state(), PodSandboxState::SandboxReady)
}
