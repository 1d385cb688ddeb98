// SPDX-License-Identifier: Apache-2.0
//! Hooks around a container's life, and how it ends.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use crisp_conformance::want::{equal, so};
use serde_json::json;

use super::{
    manifest::{pod, shell},
    site::Site,
};

fn volume(path: &Path) -> serde_json::Value {
    json!([{ "name": "v", "hostPath": { "path": path } }])
}

/// The hooks run in the container, in their places.
pub async fn post_start_runs_before_ready_and_pre_stop_before_the_signal(
    site: &Site,
) -> Result<()> {
    let dir = site.host_dir("hooks")?;
    let script = "trap 'echo signal >> /v/order; exit 0' TERM; while :; do sleep 0.1; done";
    let say = |word: &str| json!({ "exec": { "command": ["sh", "-c", format!("echo {word} >> /v/order")] } });
    let pod = site.apply(&pod(
        "hooks",
        json!({
            "terminationGracePeriodSeconds": 20,
            "volumes": volume(&dir),
            "containers": [shell("main", script, json!({
                "volumeMounts": [{ "name": "v", "mountPath": "/v" }],
                "lifecycle": { "postStart": say("started"), "preStop": say("stopping") },
            }))],
        }),
    ))?;
    pod.ready().await?;
    equal("what ran by then", fs::read_to_string(dir.join("order"))?.trim(), "started")?;
    pod.remove().await?;
    let order = fs::read_to_string(dir.join("order"))?;
    equal("what ran", order, "started\nstopping\nsignal\n")
}

/// A container gets all the time that it needs within its grace.
pub async fn a_container_that_ends_on_its_signal_is_not_killed(site: &Site) -> Result<()> {
    let dir = site.host_dir("graceful")?;
    let script = "trap 'sleep 2; echo tidied > /v/end; exit 0' TERM; while :; do sleep 0.1; done";
    let pod = site.apply(&pod("graceful", json!({
        "terminationGracePeriodSeconds": 60,
        "volumes": volume(&dir),
        "containers": [
            shell("main", script, json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] })),
        ],
    })))?;
    pod.ready().await?;
    let began = Instant::now();
    pod.remove().await?;
    equal("what it did", fs::read_to_string(dir.join("end"))?.trim(), "tidied")?;
    so(
        "it did not take the whole grace",
        began.elapsed() < Duration::from_secs(45),
        began.elapsed(),
    )
}

/// One that ignores its signal is killed when its grace is over, not before.
pub async fn a_stubborn_container_is_killed_after_its_grace(site: &Site) -> Result<()> {
    let dir = site.host_dir("stubborn")?;
    let script =
        "trap 'date +%s > /v/asked' TERM; while :; do date +%s > /v/alive; sleep 0.1; done";
    let pod = site.apply(&pod("stubborn", json!({
        "terminationGracePeriodSeconds": 4,
        "volumes": volume(&dir),
        "containers": [
            shell("main", script, json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] })),
        ],
    })))?;
    pod.ready().await?;
    pod.remove().await?;
    let time = |file| Ok::<i64, anyhow::Error>(fs::read_to_string(dir.join(file))?.trim().parse()?);
    let grace = time("alive")? - time("asked")?;
    so("it lived on for its grace of 4 s", (2..=12).contains(&grace), grace)
}
