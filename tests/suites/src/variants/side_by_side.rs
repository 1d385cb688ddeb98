// SPDX-License-Identifier: Apache-2.0
//! RuntimeClasses choose between handlers of one daemon.

use anyhow::{Result, ensure};
use crisp_conformance::{fixture::Test, want::equal};

use super::HANDLER;
use crate::stage::Stage;

/// Each pod says which handler it has, runs by it, and does not notice the other.
pub async fn pods_of_two_handlers_live_in_one_daemon(stage: &mut Stage) -> Result<()> {
    let other = Test::new(stage.node.client(HANDLER).await?)?;
    let (own_pod, own) = stage.pod_with_container().await?;
    let pod = other.pod().await?;
    let container = pod.idle().await?;
    equal("handler of the shim's pod", pod.status().await?.runtime_handler.as_str(), HANDLER)?;
    equal("handler of the other", own_pod.status().await?.runtime_handler.as_str(), "")?;
    let shim = stage.shim_pid(&pod).await?;
    let program = std::fs::read_link(format!("/proc/{shim}/exe"))?;
    ensure!(program.ends_with("containerd-shim-runc-v2"), "its shim is {}", program.display());

    for round in 0..2 {
        for (container, word) in [(&own, "one"), (&container, "two")] {
            equal("output of an exec", container.sh(&format!("echo {word}")).await?, word)?;
        }
        equal("pods", stage.pods().await?.len(), 2)?;
        if round == 0 {
            stage.node.again().await?;
        }
    }
    let process = stage.process(&own).await?;
    pod.stop().await?;
    pod.remove().await?;
    ensure!(process.is_alive(), "the other pod's container went with it");
    let failures = other.clean_up().await;
    ensure!(failures.is_empty(), "{}", failures.join("; "));
    Ok(())
}
