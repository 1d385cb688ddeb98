// SPDX-License-Identifier: Apache-2.0
//! The daemon goes and comes; plugins that it starts itself.

use std::{fs, os::unix::fs::symlink, time::Duration};

use anyhow::{Context as _, Result, ensure};
use crisp_conformance::want::{equal, within};
use serde_json::json;

use super::plugin::{Plugin, program, read, socket, write_rules};
use crate::{node::Node, proc, stage::Stage};

/// A plugin that comes back is told of the pods that went on.
pub async fn a_plugin_finds_all_pods_after_a_restart(stage: &mut Stage) -> Result<()> {
    let mut plugin = Plugin::connect(stage, "10", "a", &json!({})).await?;
    let (pod, container) = stage.pod_with_container().await?;
    let ended = pod.script("exit 0").await?;
    ended.exited().await?;
    stage.node.again().await?;
    // Its connection is gone, and the stub ends with it.
    plugin.fails().await?;
    let back = Plugin::connect(stage, "10", "b", &json!({})).await?;
    let told = back.hears("Synchronize", "").await?;
    let metadata = pod.config.metadata.clone().unwrap_or_default();
    equal("pods it is told of", told.pods, [metadata.name])?;
    equal("containers it is told of", told.names, [container.name()])?;
    let more = pod.idle().await?;
    back.hears("PostStartContainer", &more.name()).await?;
    container.stop(0).await?;
    back.hears("StopContainer", &container.name()).await?;
    Ok(())
}

/// A plugin in the node's directory of plugins.
pub fn one_plugin(node: &Node) -> Result<()> {
    let (plugins, configs) = (node.dir().join("nri-plugins"), node.dir().join("nri-conf.d"));
    fs::create_dir_all(&plugins)?;
    fs::create_dir_all(&configs)?;
    symlink(program(node), plugins.join("10-pre"))?;
    let (rules, log) = (node.dir().join("pre.rules"), node.dir().join("pre.log"));
    let env = json!({ "adjust": { "*": { "env": [{ "key": "PRE", "value": "1" }] } } });
    write_rules(&rules, &env)?;
    Ok(fs::write(configs.join("pre.conf"), format!("{}\n{}\n", rules.display(), log.display()))?)
}

/// They are there before the first request, and again after a restart.
pub async fn plugins_of_the_directory_are_started(stage: &mut Stage) -> Result<()> {
    let log = stage.node.dir().join("pre.log");
    let synchronized = || read(&log).into_iter().filter(|heard| heard.event == "Synchronize");
    equal("times it was synchronized", synchronized().count(), 1)?;
    let (_, container) = stage.pod_with_container().await?;
    equal("the variable", container.sh("echo $PRE").await?, "1")?;
    stage.node.again().await?;
    let told = synchronized().nth(1).context("it was not started again")?;
    equal("containers it is told of", told.names, [container.name()])?;
    equal("its name", told.plugin, "pre")?;
    let request = crisp_cri::StatusRequest { verbose: true };
    let info = stage.cri().status(request).await?.info;
    let config = info.get("config").context("no config in the verbose status")?;
    ensure!(config.contains("10-pre"), "the plugin is not in the verbose status: {config}");
    // With the daemon it ends, however that ends.
    stage.node.kill().await?;
    let file = stage.node.dir().join("nri-plugins/10-pre");
    let name = file.display().to_string();
    within(Duration::from_secs(10), "the end of the plugin", || async {
        let mut left: Vec<_> = proc::shims(&program(&stage.node)).collect();
        left.retain(|(_, command)| command.contains(&name));
        Ok(if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) })
    })
    .await?;
    // The daemon that cleans up is to start none.
    Ok(fs::remove_file(file)?)
}

/// No NRI.
pub fn disabled(node: &Node) -> Result<()> {
    node.reword("[nri]", "[nri]\nenable_nri = false")
}

/// Nothing listens, nothing is in the way.
pub async fn without_nri_there_is_no_socket(stage: &mut Stage) -> Result<()> {
    ensure!(!socket(&stage.node).exists(), "there is a socket");
    let (_, container) = stage.pod_with_container().await?;
    equal("output of an exec", container.sh("echo here").await?, "here")
}
