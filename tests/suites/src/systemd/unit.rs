// SPDX-License-Identifier: Apache-2.0
//! The unit itself: what is in it, and its watchdog.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use tokio::process::Command;

use super::Hands;
use crate::proc::{self, Process};

/// Runs systemctl to its end.
pub(super) async fn systemctl(arguments: &[&str]) -> Result<String> {
    let output = Command::new("systemctl").args(arguments).output().await.context("systemctl")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "systemctl {}: {said}", arguments.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The daemon, as systemd knows it.
pub(super) async fn daemon() -> Result<Process> {
    let pid = systemctl(&["show", "--property=MainPID", "--value", "crisp"]).await?;
    Process::of(pid.parse().with_context(|| format!("MainPID {pid:?}"))?)
}

pub(super) async fn the_unit_holds_the_daemon_alone(hands: &Hands) -> Result<()> {
    let pod = hands.test.pod().await?;
    let container = pod.idle().await?;
    container.sh("true").await?;
    let group = systemctl(&["show", "--property=ControlGroup", "--value", "crisp"]).await?;
    let members = fs::read_to_string(format!("/sys/fs/cgroup{group}/cgroup.procs"))?;
    let daemon = daemon().await?.pid.to_string();
    ensure!(
        members.lines().all(|pid| pid == daemon),
        "processes in the unit's cgroup beside the daemon {daemon}: {members:?}"
    );
    Ok(())
}

/// A drop-in of the unit's, gone with this value.
struct DropIn;

impl DropIn {
    const FILE: &str = "/run/systemd/system/crisp.service.d/test.conf";

    async fn write(text: &str) -> Result<Self> {
        fs::create_dir_all("/run/systemd/system/crisp.service.d")?;
        fs::write(Self::FILE, text)?;
        systemctl(&["daemon-reload"]).await?;
        Ok(Self)
    }
}

impl Drop for DropIn {
    fn drop(&mut self) {
        let _ = fs::remove_file(Self::FILE);
    }
}

pub(super) async fn a_daemon_that_hangs_is_started_again(hands: &Hands) -> Result<()> {
    const PERIOD: Duration = Duration::from_secs(15);
    let pod = hands.test.pod().await?;
    let container = pod.idle().await?;
    let process = Process::of(hands.pid(&container).await?)?;
    let text = format!("[Service]\nWatchdogSec={}\nTimeoutAbortSec=5\n", PERIOD.as_secs());
    let drop_in = DropIn::write(&text).await?;
    systemctl(&["restart", "crisp"]).await?;

    let first = daemon().await?;
    tokio::time::sleep(PERIOD + PERIOD / 2).await;
    ensure!(daemon().await? == first, "a daemon that answers was ended by the watchdog");

    proc::signal(first.pid, Signal::SIGSTOP)?;
    let stopped = Instant::now();
    let next = loop {
        match daemon().await {
            Ok(next) if next != first => break next,
            _ if stopped.elapsed() > 6 * PERIOD => {
                bail!("the daemon still hangs after {:?}", stopped.elapsed())
            }
            _ => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    };
    container.sh("true").await?;
    ensure!(next.is_alive() && process.is_alive(), "the pod did not survive the watchdog");
    drop(drop_in);
    systemctl(&["daemon-reload"]).await?;
    systemctl(&["restart", "crisp"]).await.map(drop)
}
