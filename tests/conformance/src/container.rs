// SPDX-License-Identifier: Apache-2.0
//! A container under test.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use crisp_cri::*;

use crate::cri::{CallError, Cri};
use crate::edit::strings;
use crate::log::{self, Record};
use crate::pod::Pod;
use crate::want::within;

/// A command that does nothing for long.
pub const IDLE: &[&str] = &["sleep", "3600"];

/// A container that was created.
#[derive(Clone)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// The config it was created with.
    pub config: ContainerConfig,
    /// The pod it is in.
    pub pod: Pod,
}

/// What a command in a container left.
#[derive(Debug)]
pub struct Ran {
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
    /// Its exit code.
    pub code: i32,
}

impl Container {
    fn cri(&self) -> &Cri {
        self.pod.test.cri()
    }

    /// The name in its metadata.
    pub fn name(&self) -> String {
        self.config.metadata.clone().unwrap_or_default().name
    }

    /// Where the config says the log is.
    pub fn log_file(&self) -> Option<PathBuf> {
        let directory = &self.pod.config.log_directory;
        let path = &self.config.log_path;
        let both = !directory.is_empty() && !path.is_empty();
        both.then(|| PathBuf::from(directory).join(path))
    }

    /// StartContainer.
    pub async fn start(&self) -> Result<(), CallError> {
        let request = StartContainerRequest { container_id: self.id.clone() };
        self.cri().start_container(request).await.map(drop)
    }

    /// StopContainer with a grace in seconds.
    pub async fn stop(&self, timeout: i64) -> Result<(), CallError> {
        let request = StopContainerRequest { container_id: self.id.clone(), timeout };
        self.cri().stop_container(request).await.map(drop)
    }

    /// RemoveContainer.
    pub async fn remove(&self) -> Result<(), CallError> {
        let request = RemoveContainerRequest { container_id: self.id.clone() };
        self.cri().remove_container(request).await.map(drop)
    }

    /// ContainerStatus without its wrapper.
    pub async fn status(&self) -> Result<ContainerStatus> {
        let request =
            ContainerStatusRequest { container_id: self.id.clone(), ..Default::default() };
        let response = self.cri().container_status(request).await?;
        response.status.context("ContainerStatus: status is unset")
    }

    /// The entry of this container in ListContainers.
    pub async fn listed(&self) -> Result<Option<crisp_cri::Container>, CallError> {
        let filter = ContainerFilter { id: self.id.clone(), ..Default::default() };
        let request = ListContainersRequest { filter: Some(filter) };
        Ok(self.cri().list_containers(request).await?.containers.pop())
    }

    /// ContainerStats without its wrapper.
    pub async fn stats(&self) -> Result<ContainerStats> {
        let request = ContainerStatsRequest { container_id: self.id.clone() };
        let response = self.cri().container_stats(request).await?;
        response.stats.context("ContainerStats: stats is unset")
    }

    /// UpdateContainerResources.
    pub async fn update(&self, linux: LinuxContainerResources) -> Result<(), CallError> {
        let request = UpdateContainerResourcesRequest {
            container_id: self.id.clone(),
            linux: Some(linux),
            ..Default::default()
        };
        self.cri().update_container_resources(request).await.map(drop)
    }

    /// ReopenContainerLog.
    pub async fn reopen_log(&self) -> Result<(), CallError> {
        let request = ReopenContainerLogRequest { container_id: self.id.clone() };
        self.cri().reopen_container_log(request).await.map(drop)
    }

    /// ExecSync with a timeout in seconds, 0 for none.
    pub async fn exec_raw(
        &self,
        command: &[&str],
        timeout: i64,
    ) -> Result<ExecSyncResponse, CallError> {
        let request =
            ExecSyncRequest { container_id: self.id.clone(), cmd: strings(command), timeout };
        self.cri().exec_sync(request).await
    }

    /// ExecSync without a timeout, as text.
    pub async fn exec(&self, command: &[&str]) -> Result<Ran, CallError> {
        let response = self.exec_raw(command, 0).await?;
        Ok(Ran {
            stdout: String::from_utf8_lossy(&response.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&response.stderr).into_owned(),
            code: response.exit_code,
        })
    }

    /// Runs a shell script by ExecSync; gives its stdout without the last newline.
    ///
    /// # Errors
    /// If the script does not exit with 0.
    pub async fn sh(&self, script: &str) -> Result<String> {
        let ran = self.exec(&["sh", "-c", script]).await?;
        ensure!(ran.code == 0, "ExecSync of {script:?}: expected exit code 0, came {ran:?}");
        Ok(ran.stdout.trim_end_matches('\n').to_owned())
    }

    /// Reads a cgroup file of the container from within: `v2`, or on a host with cgroup v1 `v1`.
    pub async fn cgroup(&self, v1: &str, v2: &str) -> Result<String> {
        let root = "/sys/fs/cgroup";
        let test = format!("[ -e {root}/cgroup.controllers ]");
        self.sh(&format!("if {test}; then cat {root}/{v2}; else cat {root}/{v1}; fi")).await
    }

    /// Waits until the container has exited; gives its status then.
    pub async fn exited(&self) -> Result<ContainerStatus> {
        self.exited_within(Duration::from_secs(20)).await
    }

    /// Waits for at most `limit` until the container has exited; gives its status then.
    pub async fn exited_within(&self, limit: Duration) -> Result<ContainerStatus> {
        within(limit, "ContainerStatus.state CONTAINER_EXITED", || async {
            let status = self.status().await?;
            let exited = status.state() == ContainerState::ContainerExited;
            Ok(if exited { Ok(status) } else { Err(format!("{:?}", status.state())) })
        })
        .await
    }

    /// The container's log.
    pub fn log(&self) -> Result<Vec<Record>> {
        let path = self.log_file().context("the container has no log")?;
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {path:?}"))?;
        log::parse(&bytes).with_context(|| format!("{path:?}"))
    }

    /// The lines of stdout in the log.
    pub fn out(&self) -> Result<Vec<String>> {
        Ok(log::text(&self.log()?, "stdout"))
    }

    /// Waits until a line of stdout in the log holds `text`.
    pub async fn logged(&self, text: &str) -> Result<()> {
        let path = self.log_file().context("the container has no log")?;
        within(Duration::from_secs(20), &format!("log line {text:?}"), || async {
            let bytes = std::fs::read(&path).unwrap_or_default();
            let seen = String::from_utf8_lossy(&bytes).into_owned();
            Ok(if seen.contains(text) { Ok(()) } else { Err(seen) })
        })
        .await
    }

    /// Runs to its end and gives the lines of stdout.
    pub async fn output(&self) -> Result<Vec<String>> {
        self.exited().await?;
        self.out()
    }
}
