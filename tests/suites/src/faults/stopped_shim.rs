// SPDX-License-Identifier: Apache-2.0
//! A shim that is there and does nothing: SIGSTOP.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use crisp_conformance::want::equal;
use nix::sys::signal::Signal;
use tonic::Code;

use super::{Bystander, IN_TIME, fails};
use crate::{proc, stage::Stage, traces};

/// Longest time until pod and containers are gone.
const REMOVAL: Duration = Duration::from_secs(60);

/// Calls end at their deadlines and name the shim; lists answer at once; the pod goes when it is
/// removed. So it is with a shim of anyone's making.
pub async fn calls_end_and_the_pod_can_be_removed(stage: &mut Stage) -> Result<()> {
    let bystander = Bystander::new(stage).await?;
    let (pod, container) = stage.pod_with_container().await?;
    let process = stage.process(&container).await?;
    let shim = stage.shim_pid(&pod).await?;
    proc::signal(shim, Signal::SIGSTOP)?;

    let exec = container.exec_raw(&["true"], 2);
    let codes = [Code::DeadlineExceeded, Code::Unavailable];
    fails("ExecSync", IN_TIME, exec, &codes, "on shim unix://").await?;
    fails("CreateContainer", IN_TIME * 2, pod.create(|_| ()), &codes, "shim").await?;
    let began = Instant::now();
    pod.status().await?;
    container.status().await?;
    equal("pods listed", stage.pods().await?.len(), 2)?;
    ensure!(began.elapsed() < Duration::from_secs(1), "lists and statuses wait for the shim");
    bystander.unharmed(stage).await?;

    let began = Instant::now();
    // A kubelet asks again and again.
    let mut stopped = pod.stop().await;
    while let Err(error) = stopped {
        ensure!(began.elapsed() < REMOVAL, "not stopped after {REMOVAL:?}: {error}");
        stopped = pod.stop().await;
    }
    pod.remove().await?;
    println!("        stopped and removed after {:.1?}", began.elapsed());
    ensure!(!process.is_alive(), "its container runs on");
    traces::none_of(&stage.node, &pod.id).await?;
    bystander.unharmed(stage).await
}
