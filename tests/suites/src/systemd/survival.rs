// SPDX-License-Identifier: Apache-2.0
//! What goes on without the daemon.

use anyhow::{Context as _, Result, ensure};
use crisp_cri::{ContainerState, ExecRequest};
use tokio::net::TcpStream;

use super::{Hands, unit::systemctl};
use crate::proc::Process;

pub(super) async fn pods_and_sessions_survive_a_restart_of_the_unit(hands: &Hands) -> Result<()> {
    let pod = hands.test.pod().await?;
    let container = pod.script("n=0; while :; do echo line $((n += 1)); sleep 0.2; done").await?;
    container.logged("line 1").await?;
    let process = Process::of(hands.pid(&container).await?)?;
    let request = ExecRequest {
        container_id: container.id.clone(),
        cmd: vec!["true".to_owned()],
        stdout: true,
        ..ExecRequest::default()
    };
    let url = hands.test.cri().exec(request).await?.url;
    let address = url.split('/').nth(2).context("no address in the URL")?.to_owned();

    systemctl(&["restart", "crisp"]).await?;
    TcpStream::connect(&address).await.with_context(|| format!("the session at {address}"))?;
    ensure!(process.is_alive(), "the container's process is gone");
    let status = container.status().await?;
    ensure!(status.state() == ContainerState::ContainerRunning, "the container is {status:?}");
    container.sh("true").await?;
    let seen = container.out()?.len();
    container.logged(&format!("line {}", seen + 3)).await?;
    let lines = container.out()?;
    let wanted: Vec<_> = (1..=lines.len()).map(|n| format!("line {n}")).collect();
    ensure!(lines == wanted, "lines were lost or doubled: {lines:?}");
    Ok(())
}

pub(super) async fn pods_survive_a_stop_and_a_start(hands: &Hands) -> Result<()> {
    let pod = hands.test.pod().await?;
    let (stays, ends) = (pod.idle().await?, pod.script("sleep 3; exit 7").await?);
    let process = Process::of(hands.pid(&stays).await?)?;
    systemctl(&["stop", "crisp"]).await?;
    ensure!(process.is_alive(), "the container's process ended with the daemon");
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    systemctl(&["start", "crisp"]).await?;
    ensure!(process.is_alive(), "the container's process ended when the daemon began");
    stays.sh("true").await?;
    let code = ends.exited().await?.exit_code;
    ensure!(code == 7, "the exit code of a container that ended meanwhile is {code}, not 7");
    Ok(())
}
