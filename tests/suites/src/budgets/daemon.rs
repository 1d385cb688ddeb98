// SPDX-License-Identifier: Apache-2.0
//! The daemon: paid once per node, and a little per pod.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{proc::Memory, stage::Stage};

const PODS: u64 = 30;
/// Most that the daemon may grow for a pod with a container, KiB.
const GROWTH: u64 = 50;
/// When the daemon has given free memory back after the last call.
const SETTLED: Duration = Duration::from_secs(33);

/// Its own memory before and after, both times some while after the last call.
pub async fn a_pod_costs_the_daemon_little(stage: &mut Stage) -> Result<()> {
    // The first pod also pays for what all share.
    stage.pod_with_container().await?;
    let before = settled(stage).await?;
    for _ in 0..PODS {
        stage.pod_with_container().await?;
    }
    let after = settled(stage).await?;
    let each = after.private_dirty.saturating_sub(before.private_dirty) / PODS;
    println!(
        "        daemon: PSS {} KiB with 1 pod, {} KiB with {}; private dirty {} -> {} KiB: \
         {each} KiB a pod (budget {GROWTH})",
        before.pss,
        after.pss,
        PODS + 1,
        before.private_dirty,
        after.private_dirty
    );
    ensure!(each <= GROWTH, "the daemon grew by {each} KiB a pod, {GROWTH} are allowed");
    Ok(())
}

async fn settled(stage: &Stage) -> Result<Memory> {
    tokio::time::sleep(SETTLED).await;
    Memory::of(stage.node.pid()?)
}
