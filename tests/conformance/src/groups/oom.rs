// SPDX-License-Identifier: Apache-2.0
//! Out of memory.

use crisp_cri::*;

use crate::case::{Outcome, cases};
use crate::edit::EditContainer as _;
use crate::fixture::Test;
use crate::want::{equal, so};

cases! { "oom";
    "a container above its memory limit ends with 137 and OOMKilled" => killed,
    "a quick death by memory is not missed" => quick,
    "a SIGKILL below the limit is not OOMKilled" => not_oom,
    "memory within the limit is given" => within_limit,
}

fn limited(mib: i64, script: &'static str) -> impl FnOnce(&mut ContainerConfig) {
    move |c| {
        c.resources().memory_limit_in_bytes = mib << 20;
        c.resources().memory_swap_limit_in_bytes = mib << 20;
        c.own_pids();
        c.script(script);
    }
}

async fn killed(t: Test) -> Outcome {
    let edit = limited(15, "sleep 1; exec dd if=/dev/zero of=/dev/null bs=20M");
    let status = t.pod().await?.start(edit).await?.exited().await?;
    equal("ContainerStatus.exit_code", status.exit_code, 137)?;
    equal("ContainerStatus.reason", status.reason, "OOMKilled")
}

async fn quick(t: Test) -> Outcome {
    let pod = t.pod().await?;
    for _ in 0..4 {
        let edit = limited(15, "exec dd if=/dev/zero of=/dev/null bs=20M");
        let status = pod.start(edit).await?.exited().await?;
        equal("ContainerStatus.exit_code", status.exit_code, 137)?;
        equal("ContainerStatus.reason", status.reason, "OOMKilled")?;
    }
    Ok(())
}

async fn not_oom(t: Test) -> Outcome {
    let container = t.pod().await?.start(limited(64, "sleep 3600")).await?;
    container.stop(0).await?;
    let status = container.status().await?;
    equal("ContainerStatus.exit_code", status.exit_code, 137)?;
    so("the reason is not OOMKilled", status.reason != "OOMKilled", &status.reason)
}

async fn within_limit(t: Test) -> Outcome {
    let edit = limited(64, "dd if=/dev/zero of=/dev/null bs=20M count=3 2>/dev/null && exit 3");
    let status = t.pod().await?.start(edit).await?.exited().await?;
    equal("ContainerStatus.exit_code", status.exit_code, 3)
}
