// SPDX-License-Identifier: Apache-2.0
//! The kubelet: its configuration, its start and its end.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use tokio::process::{Child, Command};

use super::http;
use crate::node::last_lines;

/// Longest wait for a kubelet to be healthy.
const START: Duration = Duration::from_secs(90);
/// The port that says whether it is.
const HEALTH: u16 = 10248;
/// The port that lists its pods to all who ask.
pub const READ_ONLY: u16 = 10255;

/// A kubelet, running or not.
#[derive(Debug)]
pub struct Kubelet {
    program: PathBuf,
    dir: PathBuf,
    socket: PathBuf,
    gates: Vec<&'static str>,
    process: Option<Child>,
}

impl Kubelet {
    /// A kubelet with its configuration below `dir`, on the runtime at `socket`; not started.
    pub fn new(program: &Path, dir: &Path, socket: &Path) -> Result<Self> {
        let kubelet = Self {
            program: program.to_owned(),
            dir: dir.to_owned(),
            socket: socket.to_owned(),
            gates: Vec::new(),
            process: None,
        };
        fs::create_dir_all(kubelet.manifests())?;
        Ok(kubelet)
    }

    /// Where static pods are written.
    pub fn manifests(&self) -> PathBuf {
        self.dir.join("manifests")
    }

    /// Feature gates for the next start.
    pub fn gates(&mut self, gates: &[&'static str]) {
        self.gates = gates.to_vec();
    }

    fn configure(&self) -> Result<PathBuf> {
        let gates: serde_json::Map<_, _> =
            self.gates.iter().map(|gate| ((*gate).to_owned(), json!(true))).collect();
        let config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "failCgroupV1": false,
            "cgroupDriver": "cgroupfs",
            "staticPodPath": self.manifests(),
            "readOnlyPort": READ_ONLY,
            "authentication": { "anonymous": { "enabled": true }, "webhook": { "enabled": false } },
            "authorization": { "mode": "AlwaysAllow" },
            "fileCheckFrequency": "1s",
            "syncFrequency": "5s",
            "containerLogMaxSize": "64Ki",
            "containerLogMaxFiles": 5,
            "containerLogMonitorInterval": "3s",
            "volumeStatsAggPeriod": "10s",
            "evictionHard": { "memory.available": "50Mi" },
            "imageGCHighThresholdPercent": 100,
            "featureGates": gates,
        });
        let path = self.dir.join("kubelet.json");
        fs::write(&path, serde_json::to_vec_pretty(&config)?)?;
        Ok(path)
    }

    fn log(&self) -> PathBuf {
        self.dir.join("kubelet.log")
    }

    /// Starts it and waits until it is healthy.
    pub async fn start(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let config = self.configure()?;
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(config).arg("--hostname-override=node").arg("--v=2");
        let socket = format!("unix://{}", self.socket.display());
        command.arg(format!("--container-runtime-endpoint={socket}"));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        let began = Instant::now();
        let process = command.spawn().with_context(|| self.program.display().to_string())?;
        let process = self.process.insert(process);
        loop {
            if let Some(status) = process.try_wait()? {
                bail!("the kubelet ended: {status}\n{}", self.last_words());
            }
            if http::get(HEALTH, "/healthz").await.is_ok()
                && http::get(READ_ONLY, "/pods").await.is_ok()
            {
                return Ok(());
            }
            ensure!(began.elapsed() < START, "not healthy after {START:?}\n{}", self.last_words());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        last_lines(&String::from_utf8_lossy(&text), 20)
    }

    /// SIGKILL; returns when it is gone.
    pub async fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the kubelet does not run")?;
        Ok(process.kill().await?)
    }

    /// Ends it if it runs.
    pub async fn end(&mut self) -> Result<()> {
        if self.process.is_some() { self.kill().await } else { Ok(()) }
    }
}
