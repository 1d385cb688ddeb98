// SPDX-License-Identifier: Apache-2.0
//! Execs while a container ends.

use std::time::Duration;

use anyhow::Result;
use crisp_conformance::{
    edit::EditContainer as _,
    stream::{Session, Transport},
    want::{equal, refused},
};

use super::url::{self, OUTPUT};
use crate::stage::Stage;

/// A container that takes its time to end is still there to look at; one that has ended is not.
pub async fn execs_run_during_the_grace_period_and_not_after(stage: &mut Stage) -> Result<()> {
    let pod = stage.test.pod().await?;
    let script = "trap 'echo ending; while ! [ -e /end ]; do sleep 0.1; done; exit 3' TERM; \
                  echo ready; while true; do sleep 0.1; done";
    let container = pod.start(|c| c.script(script)).await?;
    container.logged("ready").await?;
    let stopping = {
        let container = container.clone();
        tokio::spawn(async move { container.stop(120).await })
    };
    container.logged("ending").await?;
    equal("ExecSync during the grace period", container.sh("echo here").await?, "here")?;
    let command = ["sh", "-c", "echo there; exit 4"];
    let mut waiting = Vec::new();
    for transport in [Transport::Spdy, Transport::WebSocket] {
        let url = url::exec(&container, &command, OUTPUT).await?;
        let finished = Session::open(&url, transport, OUTPUT).await?.finish().await?;
        equal("Exec during the grace period", finished.code(), Some(4))?;
        // One that lasts ends with the container, and so does its client.
        let url = url::exec(&container, &["sleep", "7654"], OUTPUT).await?;
        waiting.push(Session::open(&url, transport, OUTPUT).await?);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let last = container.sh("touch /end; echo last").await;
    stopping.await??;
    equal("exit code of the container", container.exited().await?.exit_code, 3)?;
    if let Ok(last) = last {
        equal("ExecSync at the end", last, "last")?;
    }
    for session in waiting {
        let finished = session.finish().await?;
        equal("a command that ends with its container", finished.code(), Some(137))?;
    }
    refused("ExecSync after the end", container.exec(&["true"]).await)?;
    let late = url::exec(&container, &["true"], OUTPUT).await;
    equal("Exec after the end", late.is_err(), true)
}
