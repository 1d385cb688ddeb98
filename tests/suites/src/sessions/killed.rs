// SPDX-License-Identifier: Apache-2.0
//! The process of a session dies.

use std::time::Duration;

use anyhow::Result;
use crisp_conformance::{
    stream::{Session, Transport},
    want::equal,
};
use nix::sys::signal::Signal;

use super::{
    process,
    url::{self, BOTH, OUTPUT},
};
use crate::{proc, stage::Stage};

const FAMILY: &[&str] = &["sh", "-c", "sleep 7654 & echo started; sleep 7654; true"];

/// Whatever the command has started is ended, and the shim forgets it.
pub async fn a_killed_session_takes_its_exec_along(stage: &mut Stage) -> Result<()> {
    let (pod, container) = stage.pod_with_container().await?;
    for transport in [Transport::Spdy, Transport::WebSocket] {
        let url = url::exec(&container, FAMILY, OUTPUT).await?;
        let mut session = Session::open(&url, transport, OUTPUT).await?;
        session.until("started").await?;
        proc::signal(process::only(&pod).await?, Signal::SIGKILL)?;
        process::no_exec(stage, &container, 7654).await?;
    }
    Ok(())
}

/// The session dies while there is no daemon; an ExecSync loses its caller with the daemon; a
/// third goes on.
pub async fn a_new_daemon_ends_execs_that_have_lost_their_session(stage: &mut Stage) -> Result<()> {
    let (pod, container) = stage.pod_with_container().await?;
    let url = url::exec(&container, FAMILY, OUTPUT).await?;
    let mut dies = Session::open(&url, Transport::Spdy, OUTPUT).await?;
    dies.until("started").await?;
    let lost = process::only(&pod).await?;
    let url = url::exec(&container, &["sh", "-c", "cat; exit 5"], BOTH).await?;
    let mut stays = Session::open(&url, Transport::WebSocket, BOTH).await?;
    stays.send(b"here\n").await?;
    stays.until("here").await?;
    let waiting = {
        let container = container.clone();
        tokio::spawn(async move { container.exec(&["sleep", "7654"]).await })
    };
    tokio::time::sleep(Duration::from_secs(1)).await;

    stage.node.kill().await?;
    proc::signal(lost, Signal::SIGKILL)?;
    stage.node.start().await?;
    // All but the one that is still served.
    crisp_conformance::want::within(Duration::from_secs(30), "end of lost execs", || async {
        let left = container.sh("ps -o args | grep -c '^sleep 7654' || true").await?;
        Ok(if left == "0" { Ok(()) } else { Err(format!("{left} are left")) })
    })
    .await?;
    equal("the ExecSync of the killed daemon", waiting.await?.is_err(), true)?;
    stays.send(b"there\n").await?;
    stays.until("there").await?;
    stays.end_stdin().await?;
    equal("exit code", stays.finish().await?.code(), Some(5))?;
    process::no_exec(stage, &container, 7654).await
}
