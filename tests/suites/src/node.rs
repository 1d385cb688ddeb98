// SPDX-License-Identifier: Apache-2.0
//! A crisp under test: a daemon with root, run directory, socket and network of its own, which a
//! case kills and starts again.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use crisp_conformance::{Options, fixture::Suite, suite};
use tokio::process::{Child, Command};

/// Longest wait for a daemon to answer.
const START: Duration = Duration::from_secs(60);

/// What a node is made of.
#[derive(Debug, Clone, clap::Args)]
pub struct Parts {
    /// The daemon.
    #[arg(long, value_name = "FILE")]
    pub crisp: PathBuf,
    /// Its shim.
    #[arg(long, value_name = "FILE")]
    pub shim: PathBuf,
    /// Where the CNI plugins are.
    #[arg(long, value_name = "DIR")]
    pub plugins: PathBuf,
    /// What `tests/images/registry start` made.
    #[arg(long, value_name = "DIR")]
    pub registry: PathBuf,
    /// The checkout's `tests/endpoints`.
    #[arg(long, value_name = "DIR")]
    pub endpoints: PathBuf,
    /// The OCI runtime, by name.
    #[arg(long, value_name = "NAME", default_value = "runc")]
    pub runtime: String,
}

/// A node, its daemon running or not.
#[derive(Debug)]
pub struct Node {
    parts: Parts,
    dir: PathBuf,
    daemon: Option<Child>,
}

impl Node {
    /// Writes a node's configuration below `dir`; starts nothing.
    pub async fn prepare(parts: &Parts, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        let node = Self { parts: parts.clone(), dir: fs::canonicalize(dir)?, daemon: None };
        let mut script = node.script();
        script.arg("prepare").args([&parts.shim, &parts.plugins, &parts.registry, &node.dir]);
        let status = script.arg(&parts.runtime).status().await?;
        ensure!(status.success(), "the endpoint's script cannot prepare: {status}");
        Ok(node)
    }

    fn script(&self) -> Command {
        Command::new(self.parts.endpoints.join("crisp"))
    }

    /// The directory with all that the node keeps.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its run directory.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// Its root directory.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// The shim binary.
    #[must_use]
    pub fn shim(&self) -> &Path {
        &self.parts.shim
    }

    /// What it is made of.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The daemon's log so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(self.dir.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.join("crisp.toml")
    }

    /// Adds TOML to the configuration, for the next start.
    pub fn configure(&self, more: &str) -> Result<()> {
        let path = self.config();
        let text = fs::read_to_string(&path)?;
        Ok(fs::write(&path, format!("{text}\n{more}\n"))?)
    }

    /// Changes the configuration's text, for the next start.
    pub fn reword(&self, from: &str, to: &str) -> Result<()> {
        let path = self.config();
        let text = fs::read_to_string(&path)?;
        ensure!(text.contains(from), "{from:?} is not in {}", path.display());
        Ok(fs::write(&path, text.replace(from, to))?)
    }

    /// Pid of the daemon.
    pub fn pid(&self) -> Result<u32> {
        self.daemon.as_ref().and_then(Child::id).context("the daemon does not run")
    }

    /// Starts the daemon; tells how long it took to listen. It listens once it has found its pods.
    pub async fn start(&mut self) -> Result<Duration> {
        let socket = self.dir.join("sock");
        let _ = fs::remove_file(&socket);
        let log = File::options().create(true).append(true).open(self.dir.join("log"))?;
        let mut command = Command::new(&self.parts.crisp);
        command.arg("daemon").arg("--config").arg(self.config()).process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let began = Instant::now();
        let daemon = command.spawn().with_context(|| self.parts.crisp.display().to_string())?;
        let daemon = self.daemon.insert(daemon);
        loop {
            if let Some(status) = daemon.try_wait()? {
                bail!("the daemon ended at once: {status}\n{}", last_lines(&self.log(), 20));
            }
            if tokio::net::UnixStream::connect(&socket).await.is_ok() {
                return Ok(began.elapsed());
            }
            ensure!(began.elapsed() < START, "the daemon does not listen after {START:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// SIGKILL; returns when the daemon is gone.
    pub async fn kill(&mut self) -> Result<()> {
        let mut daemon = self.daemon.take().context("the daemon does not run")?;
        Ok(daemon.kill().await?)
    }

    /// SIGKILL and a new daemon; tells how long that one took to listen.
    pub async fn again(&mut self) -> Result<Duration> {
        self.kill().await?;
        self.start().await
    }

    /// A client, with what conformance cases are written with.
    pub async fn client(&self, handler: &str) -> Result<Arc<Suite>> {
        let endpoint = format!("unix://{}", self.dir.join("sock").display());
        let options = Options { endpoint, handler: handler.to_owned(), ..Options::default() };
        Ok(Arc::new(suite(&options).await?))
    }

    /// Ends the daemon, if it runs, and removes its bridge.
    pub async fn end(&mut self) -> Result<()> {
        if self.daemon.is_some() {
            self.kill().await?;
        }
        let status = self.script().arg("stop").arg(&self.dir).status().await?;
        ensure!(status.success(), "the endpoint's script cannot stop: {status}");
        Ok(())
    }
}

/// The last `count` lines of `text`.
#[must_use]
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
