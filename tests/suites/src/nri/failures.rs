// SPDX-License-Identifier: Apache-2.0
//! Plugins that say no, hang, die, or are none.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use crisp_conformance::{
    images,
    want::{contains, equal, refused, within},
};
use serde_json::json;

use super::plugin::Plugin;
use crate::{node::Node, stage::Stage};

/// How long a plugin may take by default.
const LIMIT: Duration = Duration::from_secs(2);

/// Its words reach the client; what was refused did not happen and can be tried again.
pub async fn a_refusal_fails_what_was_asked(stage: &mut Stage) -> Result<()> {
    let plugin = Plugin::connect(stage, "10", "a", &json!({})).await?;
    let refuse = |event: &str| json!({ "fail": { event: "not today" } });
    let says_no = |what: &str, text: &str| {
        contains(what, text, "10-a").and_then(|()| contains(what, text, "not today"))
    };

    plugin.obey(&refuse("RunPodSandbox"))?;
    let config = stage.test.pod_config()?;
    let error = refused("RunPodSandbox", stage.test.run_pod(config.clone()).await)?;
    says_no("RunPodSandbox", error.status.message())?;
    equal("pods listed", stage.pods().await?.len(), 0)?;
    plugin.obey(&json!({}))?;
    let pod = stage.test.run_pod(config).await?;

    plugin.obey(&refuse("CreateContainer"))?;
    let error = refused("CreateContainer", pod.create(|_| ()).await)?;
    says_no("CreateContainer", error.status.message())?;
    equal("containers listed", pod.containers().await?.len(), 0)?;

    plugin.obey(&refuse("StartContainer"))?;
    let container = pod.create(|_| ()).await?;
    let error = refused("StartContainer", container.start().await)?;
    says_no("StartContainer", error.status.message())?;
    container.exited().await?;

    // An end is not the plugin's to refuse.
    plugin.obey(&json!({ "fail": {
        "StopContainer": "no", "RemoveContainer": "no",
        "StopPodSandbox": "no", "RemovePodSandbox": "no",
    } }))?;
    let other = pod.idle().await?;
    other.stop(0).await?;
    other.remove().await?;
    pod.stop().await?;
    pod.remove().await?;
    equal("pods listed", stage.pods().await?.len(), 0)
}

/// While it thinks about one pod, others go on, with the same plugin.
pub async fn a_slow_plugin_delays_one_pod_only(stage: &mut Stage) -> Result<()> {
    let rules = json!({ "hang": { "CreateContainer/slow": 1500 } });
    let plugin = Plugin::connect(stage, "10", "a", &rules).await?;
    let (slow, quick) = (stage.test.pod().await?, stage.test.pod().await?);
    let began = Instant::now();
    let delayed = tokio::spawn(async move {
        let named = |config: &mut crisp_cri::ContainerConfig| {
            config.metadata.get_or_insert_default().name = "slow".into();
        };
        slow.create(named).await.map(|_| began.elapsed())
    });
    plugin.hears("CreateContainer", "slow").await?;
    let container = quick.create(|_| ()).await?;
    plugin.hears("CreateContainer", &container.name()).await?;
    ensure!(!delayed.is_finished(), "the quick pod waited for the slow one");
    let took = delayed.await??;
    ensure!(took >= Duration::from_millis(1500), "nothing was slow: {took:?}");
    Ok(())
}

/// After its time is over the pod goes on without it, and so do all that come after.
pub async fn a_plugin_that_hangs_is_dropped(stage: &mut Stage) -> Result<()> {
    let rules = json!({ "hang": { "CreateContainer": 60_000 } });
    let mut plugin = Plugin::connect(stage, "10", "a", &rules).await?;
    let other = Plugin::connect(stage, "20", "b", &json!({})).await?;
    let pod = stage.test.pod().await?;
    let began = Instant::now();
    let container = pod.idle().await?;
    let took = began.elapsed();
    ensure!(took >= LIMIT, "the plugin was not waited for: {took:?}");
    other.hears("PostStartContainer", &container.name()).await?;
    plugin.fails().await?;
    contains("the daemon's log", &stage.node.log(), "10-a did not answer CreateContainer")?;
    let began = Instant::now();
    pod.idle().await?;
    let took = began.elapsed();
    ensure!(took < LIMIT, "the next container waited too: {took:?}");
    Ok(())
}

/// Little time for plugins to get ready.
pub fn hasty(node: &Node) -> Result<()> {
    node.reword("[nri]", "[nri]\nnri_plugin_registration_timeout = 1")
}

/// In Synchronize, for which events of all pods wait.
pub async fn a_plugin_that_hangs_at_the_start_is_dropped(stage: &mut Stage) -> Result<()> {
    let pod = stage.test.pod().await?;
    stage.test.ensure_image(images::BUSYBOX).await?;
    let rules = json!({ "hang": { "Synchronize": 60_000 } });
    let mut plugin = Plugin::connect(stage, "10", "a", &rules).await?;
    let began = Instant::now();
    let container = pod.idle().await?;
    let took = began.elapsed();
    ensure!(took < Duration::from_secs(5), "the container waited for {took:?}");
    plugin.fails().await?;
    contains("the daemon's log", &stage.node.log(), "10-a did not answer Synchronize")?;
    equal("output of an exec", container.sh("echo here").await?, "here")
}

/// SIGKILL while it is asked.
pub async fn a_plugin_that_is_killed_is_passed_over(stage: &mut Stage) -> Result<()> {
    let rules = json!({ "hang": { "CreateContainer": 60_000 } });
    let plugin = Plugin::connect(stage, "10", "a", &rules).await?;
    let pod = stage.test.pod().await?;
    let (created, killed) = tokio::join!(pod.create(|_| ()), async {
        plugin.hears("CreateContainer", "").await?;
        plugin.kill().await
    });
    killed?;
    created?.start().await?;
    pod.idle().await?;
    within(Duration::from_secs(10), "the loss in the log", || async {
        let log = stage.node.log();
        let told = log.contains("NRI plugin is gone plugin=\"10-a\"");
        Ok(if told { Ok(()) } else { Err(crate::node::last_lines(&log, 3)) })
    })
    .await?;
    Plugin::connect(stage, "10", "a", &json!({})).await?.hears("Synchronize", "").await?;
    Ok(())
}

/// What it calls itself is in the log, and pods do not notice.
pub async fn a_plugin_without_a_proper_name_is_turned_away(stage: &mut Stage) -> Result<()> {
    // The stub itself refuses some; what it lets through, the daemon must not.
    for (index, name) in [("7", "a"), ("10", "a b")] {
        let mut plugin = Plugin::start(stage, index, name, &json!({}))?;
        ensure!(plugin.fails().await?, "plugin {index:?} {name:?} was let in");
    }
    let (_, container) = stage.pod_with_container().await?;
    equal("output of an exec", container.sh("echo here").await?, "here")
}
