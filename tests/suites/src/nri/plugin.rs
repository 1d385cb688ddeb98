// SPDX-License-Identifier: Apache-2.0
//! A plugin's process, the rules it follows and the log it keeps.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result};
use crisp_conformance::want::within;
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
};

use crate::{node::Node, stage::Stage};

/// How long a plugin may take to hear of something.
const SOON: Duration = Duration::from_secs(15);

/// What a plugin heard.
#[derive(Debug, Clone, Deserialize)]
pub struct Heard {
    /// The event.
    pub event: String,
    /// Name of the plugin.
    pub plugin: String,
    /// Name of the pod.
    #[serde(default)]
    pub pod: String,
    /// Name of the container.
    #[serde(default)]
    pub container: String,
    /// Names of the pods it was synchronized with.
    #[serde(default)]
    pub pods: Vec<String>,
    /// Names of the containers it was synchronized with.
    #[serde(default)]
    pub names: Vec<String>,
    /// The container, else the pod, as JSON.
    #[serde(default)]
    pub detail: Value,
    /// Updates that failed.
    #[serde(default)]
    pub failed: Vec<String>,
    /// Who adjusted what.
    #[serde(default)]
    pub owners: Value,
}

/// A running plugin.
pub struct Plugin {
    process: Child,
    rules: PathBuf,
    log: PathBuf,
    name: String,
}

/// The program.
pub fn program(node: &Node) -> PathBuf {
    node.parts().plugins.join("nri-plugin")
}

/// The socket of a node.
pub fn socket(node: &Node) -> PathBuf {
    node.dir().join("nri.sock")
}

/// The events in a log, so far. A line that is still being written is left out.
pub fn read(log: &Path) -> Vec<Heard> {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Writes rules so that a plugin reads all or nothing of them.
pub fn write_rules(path: &Path, rules: &Value) -> Result<()> {
    let fresh = path.with_extension("new");
    fs::write(&fresh, rules.to_string())?;
    Ok(fs::rename(&fresh, path)?)
}

impl Plugin {
    /// Starts a plugin, without waiting for anything.
    pub fn start(stage: &Stage, index: &str, name: &str, rules: &Value) -> Result<Self> {
        let dir = stage.node.dir();
        let file = dir.join(format!("{name}.rules"));
        write_rules(&file, rules)?;
        let log = dir.join("plugins.log");
        let process = Command::new(program(&stage.node))
            .arg("-socket")
            .arg(socket(&stage.node))
            .args(["-idx", index, "-name", name, "-rules"])
            .arg(&file)
            .arg("-log")
            .arg(&log)
            .stdin(Stdio::piped())
            .stderr(fs::File::options().create(true).append(true).open(dir.join("plugins.err"))?)
            .kill_on_drop(true)
            .spawn()
            .context("nri-plugin")?;
        Ok(Self { process, rules: file, log, name: name.to_owned() })
    }

    /// Starts a plugin and waits until it is synchronized. All plugins of a node keep one log.
    pub async fn connect(stage: &Stage, index: &str, name: &str, rules: &Value) -> Result<Self> {
        let plugin = Self::start(stage, index, name, rules)?;
        plugin.hears("Synchronize", "").await?;
        Ok(plugin)
    }

    /// Changes its rules.
    pub fn obey(&self, rules: &Value) -> Result<()> {
        write_rules(&self.rules, rules)
    }

    /// All it has heard.
    pub fn heard(&self) -> Vec<Heard> {
        read(&self.log).into_iter().filter(|heard| heard.plugin == self.name).collect()
    }

    /// All that all plugins of the node have heard, in order.
    pub fn all_heard(&self) -> Vec<Heard> {
        read(&self.log)
    }

    /// The events it has heard, without details.
    pub fn events(&self) -> Vec<String> {
        self.heard().into_iter().map(|heard| heard.event).collect()
    }

    /// Waits until it has heard of `event`, of `container` if that is not empty.
    pub async fn hears(&self, event: &str, container: &str) -> Result<Heard> {
        let what = format!("{event} {container:?} heard by plugin {}", self.name);
        within(SOON, &what, || async {
            let heard = self.heard();
            let fits = |one: &&Heard| {
                one.event == event && [one.container.as_str(), ""].contains(&container)
            };
            let found = heard.iter().rev().find(fits).cloned();
            Ok(found.ok_or_else(|| format!("{:?}", self.events())))
        })
        .await
    }

    /// Asks for updates, unasked.
    pub async fn update(&mut self, updates: &Value) -> Result<Heard> {
        let before = self.events().iter().filter(|event| *event == "Updated").count();
        let stdin = self.process.stdin.as_mut().context("no stdin")?;
        stdin.write_all(format!("{updates}\n").as_bytes()).await?;
        within(SOON, "answer to an update", || async {
            let heard = self.heard();
            let mut answers = heard.iter().filter(|heard| heard.event == "Updated");
            Ok(answers.nth(before).cloned().ok_or_else(|| "none".to_owned()))
        })
        .await
    }

    /// SIGKILL.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.process.kill().await?)
    }

    /// Waits for its end; true if it failed.
    pub async fn fails(&mut self) -> Result<bool> {
        let status = tokio::time::timeout(SOON, self.process.wait()).await;
        Ok(!status.context("the plugin goes on")??.success())
    }
}
