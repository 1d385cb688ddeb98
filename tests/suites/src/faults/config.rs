// SPDX-License-Identifier: Apache-2.0
//! Configurations that cannot be followed.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tokio::{process::Command, time::timeout};

use crate::stage::Stage;

/// Longest time until a daemon has given up.
const PROMPT: Duration = Duration::from_secs(10);

/// Text that is no TOML, unknown keys, values of a wrong kind.
pub async fn a_bad_configuration_ends_the_start_with_its_reason(stage: &mut Stage) -> Result<()> {
    for (text, names) in [
        ("root = ", &["bad.toml"][..]),
        ("rooot = \"/x\"\n", &["rooot", "root", "bad.toml"]),
        ("[runtime]\nlog_level = \"loud\"\n", &["log_level", "loud", "warn"]),
        ("[deadlines]\ncni = \"soon\"\n", &["deadlines.cni", "soon"]),
        ("root = \"relative/path\"\n", &["root", "relative/path"]),
    ] {
        let path = stage.node.dir().join("bad.toml");
        fs::write(&path, text)?;
        refused(stage, &path, names).await.with_context(|| format!("configuration {text:?}"))?;
    }
    let missing = stage.node.dir().join("missing.toml");
    refused(stage, &missing, &["missing.toml"]).await
}

/// A configuration that is well formed, about things that are not there.
pub async fn a_missing_runtime_or_plugin_directory_is_named(stage: &mut Stage) -> Result<()> {
    let dir = stage.node.dir().display().to_string();
    let base = fs::read_to_string(stage.node.config())?
        .replace(&format!("{dir}/"), &format!("{dir}/other/"));
    let base = base.replace(&format!("{dir}/other/net.d"), &format!("{dir}/net.d"));
    let path = stage.node.dir().join("bad.toml");

    let start = base.find("runtime_path = ").context("no runtime_path")?;
    let end = base[start..].find('\n').map_or(base.len(), |n| start + n);
    let mut text = base.clone();
    text.replace_range(start..end, "runtime_path = \"/no/such/runtime\"");
    fs::write(&path, &text)?;
    refused(stage, &path, &["/no/such/runtime"]).await?;

    // The same root as the daemon that runs: two would ruin it.
    let same = fs::read_to_string(stage.node.config())?;
    fs::write(&path, same.replace("/sock\"", "/sock2\""))?;
    refused(stage, &path, &["root"]).await
}

/// `crisp daemon` with this configuration ends soon, with an error, and names these.
async fn refused(stage: &Stage, config: &Path, names: &[&str]) -> Result<()> {
    let began = Instant::now();
    let mut daemon = Command::new(&stage.node.parts().crisp);
    daemon.arg("daemon").arg("--config").arg(config).kill_on_drop(true);
    let output = timeout(PROMPT, daemon.output()).await;
    let output = output.with_context(|| format!("the daemon goes on after {PROMPT:?}"))??;
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    let code = output.status.code();
    ensure!(code.is_some_and(|code| code != 0), "the daemon ended with {code:?}: {said}");
    ensure!(!said.contains("panicked"), "the daemon panicked: {said}");
    for name in names {
        ensure!(said.contains(name), "after {:?}: {said:?} should hold {name:?}", began.elapsed());
    }
    Ok(())
}
