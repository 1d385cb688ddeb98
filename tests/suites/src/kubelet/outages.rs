// SPDX-License-Identifier: Apache-2.0
//! Kubelet or crisp is killed while pods run and are probed.

use std::time::{Duration, Instant};

use anyhow::Result;
use crisp_conformance::want::{equal, so, within};
use serde_json::{Value, json};

use super::{
    manifest::{SLEEP, agnhost, pod, shell},
    site::{SOON, Site, container, identity, lines_of},
};

/// How long pods are watched after an outage: several rounds of probes.
const WATCH: Duration = Duration::from_secs(8);

/// A pod with a probe by exec and one by HTTP, and a container that counts in its log. Each case has
/// one of its own name: to a kubelet, two static pods of the same manifest are one.
fn witness(name: &str) -> Value {
    let exec = json!({
        "exec": { "command": ["true"] }, "periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": 5,
    });
    let http = json!({
        "httpGet": { "path": "/hostname", "port": 8080 },
        "periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": 5,
    });
    let count = "trap 'exit 0' TERM; i=0; while :; do i=$((i+1)); echo number $i; sleep 0.1; done";
    pod(
        name,
        json!({ "containers": [
        shell("counter", count, json!({ "livenessProbe": exec, "readinessProbe": exec })),
        agnhost("server", &["netexec", "--http-port=8080", "--udp-port=-1"],
            json!({ "livenessProbe": http, "readinessProbe": http })),
    ] }),
    )
}

fn identities(pod: &Value) -> Result<[(String, u64); 2]> {
    Ok([identity(pod, "counter")?, identity(pod, "server")?])
}

/// After the outage: the same containers, still alive and ready after some rounds of probes, and
/// no number missing in the log.
async fn goes_on(site: &Site, name: &str, before: &Value) -> Result<()> {
    let pod = site.apply(&witness(name))?;
    pod.ready().await?;
    tokio::time::sleep(WATCH).await;
    let after = pod.ready().await?;
    equal("containers and restarts", identities(&after)?, identities(before)?)?;
    equal("restarts", identity(&after, "counter")?.1, 0)?;
    let log = pod.log_file("counter", 0)?;
    let written = lines_of(&log)?.len();
    within(SOON, "more numbers", || async {
        let now = lines_of(&log)?.len();
        Ok(if now > written { Ok(()) } else { Err(format!("still {now}")) })
    })
    .await?;
    let lines = lines_of(&log)?;
    let counted = lines.iter().enumerate().all(|(at, line)| *line == format!("number {}", at + 1));
    so("no number is missing", counted, lines.len())
}

/// The kubelet comes back and adopts what runs.
pub async fn a_restarted_kubelet_leaves_its_containers_alone(site: &mut Site) -> Result<()> {
    let before = site.apply(&witness("adopted"))?.ready().await?;
    site.kubelet.kill().await?;
    site.kubelet.start().await?;
    goes_on(site, "adopted", &before).await
}

/// Thrice, the last time with an outage long enough for probes to be missed.
pub async fn crisp_killed_under_a_kubelet_loses_no_container(site: &mut Site) -> Result<()> {
    let before = site.apply(&witness("survivor"))?.ready().await?;
    site.node.again().await?;
    site.node.again().await?;
    site.node.kill().await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    site.node.start().await?;
    goes_on(site, "survivor", &before).await
}

/// The kubelet restarts the container that ended meanwhile, and tells how it ended.
pub async fn an_exit_during_crisps_outage_is_acted_on_after_it(site: &mut Site) -> Result<()> {
    let dir = site.host_dir("outage")?;
    let script = format!(
        "until [ -e /v/end ]; do sleep 0.1; done; [ -e /v/ended ] || {{ touch /v/ended; exit 9; }}; {SLEEP}"
    );
    let manifest = pod(
        "outage",
        json!({
            "volumes": [{ "name": "v", "hostPath": { "path": dir } }],
            "containers": [
                shell("main", &script, json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] })),
            ],
        }),
    );
    site.apply(&manifest)?.ready().await?;
    site.node.kill().await?;
    std::fs::write(dir.join("end"), "")?;
    within(SOON, "the container ends", || async {
        Ok(if dir.join("ended").exists() { Ok(()) } else { Err("it runs".to_owned()) })
    })
    .await?;
    site.node.start().await?;
    let pod = site.apply(&manifest)?;
    let restarted = |pod: &Value| container(pod, "main")["restartCount"] == 1;
    let seen = pod.until("restarted once", restarted).await?;
    equal(
        "exit code",
        &container(&seen, "main")["lastState"]["terminated"]["exitCode"],
        &json!(9),
    )?;
    pod.ready().await.map(drop)
}

/// As after a crash of both.
pub async fn kubelet_and_crisp_killed_together_find_their_pods(site: &mut Site) -> Result<()> {
    let before = site.apply(&witness("found"))?.ready().await?;
    site.kubelet.kill().await?;
    site.node.again().await?;
    site.kubelet.start().await?;
    goes_on(site, "found", &before).await
}

/// With events from crisp the kubelet does not wait for its next look at all containers.
pub async fn an_evented_kubelet_hears_of_an_exit_at_once(site: &mut Site) -> Result<()> {
    site.kubelet.kill().await?;
    site.kubelet.gates(&["EventedPLEG"]);
    site.kubelet.start().await?;
    let pod = site.apply(&pod(
        "evented",
        json!({
            "restartPolicy": "Never",
            "containers": [shell("main", "echo now; exec sleep 3", json!({}))],
        }),
    ))?;
    pod.wrote("main", "now").await?;
    let began = Instant::now();
    pod.phase("Succeeded").await?;
    so("sooner than a relist", began.elapsed() < Duration::from_secs(20), began.elapsed())?;
    before_events_end(site).await
}

/// Back to the usual kubelet.
async fn before_events_end(site: &mut Site) -> Result<()> {
    site.kubelet.kill().await?;
    site.kubelet.gates(&[]);
    site.kubelet.start().await
}
