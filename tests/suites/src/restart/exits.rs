// SPDX-License-Identifier: Apache-2.0
//! Containers that end while there is no daemon.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, ensure};
use crisp_conformance::{
    container::Container,
    edit::EditContainer as _,
    want::{equal, so},
};
use crisp_cri::{ContainerState, StopContainerRequest};

use crate::{stage::Stage, traces::is_alive};

/// How a container ends, and what must be told of it.
struct Ending {
    script: &'static str,
    memory: i64,
    code: i32,
    reason: &'static str,
}

const ENDINGS: [Ending; 6] = [
    Ending { script: "exit 0", memory: 0, code: 0, reason: "Completed" },
    Ending { script: "exit 7", memory: 0, code: 7, reason: "Error" },
    Ending { script: "kill -TERM $$", memory: 0, code: 143, reason: "Error" },
    Ending { script: "kill -KILL $$", memory: 0, code: 137, reason: "Error" },
    Ending { script: "kill -SEGV $$", memory: 0, code: 139, reason: "Error" },
    Ending { script: "exec tail /dev/zero", memory: 24 << 20, code: 137, reason: "OOMKilled" },
];

/// Codes, reasons and times are those of the exit, not of the restart.
pub async fn exits_without_a_daemon_keep_code_reason_and_time(stage: &mut Stage) -> Result<()> {
    let gate = stage.test.make_dir("gate")?;
    let pod = stage.test.pod().await?;
    let mut containers = Vec::new();
    for ending in &ENDINGS {
        let waits = format!("until [ -e /gate/open ]; do sleep 0.05; done; {}", ending.script);
        let container = pod.start(|c| {
            // Process 1 of a namespace of its own is safe from its own signals.
            c.script(&format!("sh -c '{waits}'; code=$?; exit $code"));
            c.bind(Path::new(&gate), "/gate");
            c.resources().memory_limit_in_bytes = ending.memory;
        });
        containers.push(container.await?);
    }
    let mut pids = Vec::new();
    for container in &containers {
        pids.push(stage.pid(container).await?);
    }

    stage.node.kill().await?;
    let killed_at = now_ns();
    std::fs::write(gate.join("open"), "")?;
    for pid in pids {
        gone(pid).await?;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let started_at = now_ns();
    stage.node.start().await?;

    for (container, ending) in containers.iter().zip(&ENDINGS) {
        let status = container.status().await?;
        let what = format!("of {:?}", ending.script);
        equal(&format!("state {what}"), status.state(), ContainerState::ContainerExited)?;
        equal(&format!("exit code {what}"), status.exit_code, ending.code)?;
        equal(&format!("reason {what}"), status.reason.as_str(), ending.reason)?;
        let meanwhile = killed_at..started_at;
        so("the exit's time is within the outage", meanwhile.contains(&status.finished_at), {
            format!("{} of {meanwhile:?}", status.finished_at)
        })?;
    }
    Ok(())
}

/// The daemon dies while a stop waits for a stubborn container.
pub async fn a_stop_cut_short_can_be_repeated(stage: &mut Stage) -> Result<()> {
    let pod = stage.test.pod().await?;
    let stubborn = pod.script("trap '' TERM; echo ready; while :; do sleep 0.1; done").await?;
    stubborn.logged("ready").await?;
    let pid = stage.pid(&stubborn).await?;
    let stop = begin_stop(stage, &stubborn);
    tokio::time::sleep(Duration::from_millis(300)).await;
    stage.node.again().await?;
    ensure!(stop.await?.is_err(), "the stop was answered although the daemon was killed");
    equal("state", stubborn.status().await?.state(), ContainerState::ContainerRunning)?;
    stubborn.stop(1).await?;
    let status = stubborn.status().await?;
    equal("exit code", status.exit_code, 137)?;
    gone(pid).await
}

fn begin_stop(stage: &Stage, container: &Container) -> tokio::task::JoinHandle<Result<(), String>> {
    let cri = stage.cri().clone();
    let request = StopContainerRequest { container_id: container.id.clone(), timeout: 60 };
    tokio::spawn(async move {
        cri.stop_container(request).await.map(drop).map_err(|error| error.to_string())
    })
}

async fn gone(pid: u32) -> Result<()> {
    for _ in 0..400 {
        if !is_alive(pid) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("process {pid} goes on")
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
