// SPDX-License-Identifier: Apache-2.0
//! What clients see of a daemon that restarts or is stopped.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use crisp_conformance::cri::Cri;
use crisp_cri::VersionRequest;

use super::{Hands, unit::systemctl};

pub(super) async fn clients_wait_while_the_daemon_restarts(hands: &Hands) -> Result<()> {
    let done = AtomicBool::new(false);
    let restarts = async {
        for _ in 0..3 {
            systemctl(&["restart", "crisp"]).await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        done.store(true, Ordering::Relaxed);
        Ok::<_, anyhow::Error>(())
    };
    // Each with a connection of its own: an open one is closed by the daemon's end, as it must be.
    let clients = async {
        let mut connected = 0_u32;
        while !done.load(Ordering::Relaxed) {
            std::os::unix::net::UnixStream::connect(
                hands.endpoint.strip_prefix("unix://").context("a unix address")?,
            )
            .with_context(|| format!("client {connected} was refused"))?;
            connected += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        anyhow::Ok(connected)
    };
    let (restarted, connected) = tokio::join!(restarts, clients);
    restarted?;
    let connected = connected?;
    ensure!(connected > 100, "only {connected} clients came");

    // And one who comes while nobody is there is answered by the next daemon.
    let restart = systemctl(&["restart", "--no-block", "crisp"]);
    restart.await?;
    for _ in 0..5 {
        let cri = Cri::connect(&hands.endpoint, &hands.endpoint).await?;
        let answered = cri.version(VersionRequest::default()).await;
        // The old daemon may have taken the connection and ended before it answered.
        if answered.is_ok() {
            return Ok(());
        }
    }
    anyhow::bail!("no client was answered after the restart")
}

pub(super) async fn a_stopped_daemon_refuses_its_clients(hands: &Hands) -> Result<()> {
    systemctl(&["stop", "crisp"]).await?;
    let path = hands.endpoint.strip_prefix("unix://").context("a unix address")?;
    let connected = std::os::unix::net::UnixStream::connect(path);
    ensure!(connected.is_err(), "a client of a stopped daemon waits for nobody");
    systemctl(&["start", "crisp"]).await?;
    let cri = Cri::connect(&hands.endpoint, &hands.endpoint).await?;
    cri.version(VersionRequest::default()).await?;
    Ok(())
}
