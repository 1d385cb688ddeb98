// SPDX-License-Identifier: Apache-2.0
//! Probes: the kubelet asks, crisp runs what it asks for.

use anyhow::Result;
use crisp_conformance::want::{equal, so};
use serde_json::{Value, json};

use super::{
    manifest::{SLEEP, agnhost, pod, shell},
    site::{Site, container, is_ready},
};

fn every_second(mut probe: Value) -> Value {
    probe["periodSeconds"] = json!(1);
    probe["timeoutSeconds"] = json!(5);
    probe
}

/// Each kind of probe makes a container ready, and an exec probe makes it unready again.
pub async fn readiness_follows_exec_http_tcp_and_grpc_probes(site: &Site) -> Result<()> {
    let dir = site.host_dir("readiness")?;
    std::fs::write(dir.join("fine"), "")?;
    let exec = every_second(json!({ "exec": { "command": ["test", "-e", "/v/fine"] } }));
    let http = every_second(json!({ "httpGet": { "path": "/hostname", "port": 8080 } }));
    let tcp = every_second(json!({ "tcpSocket": { "port": 8081 } }));
    let grpc = every_second(json!({ "grpc": { "port": 5000 } }));
    let pod = site.apply(&pod(
        "readiness",
        json!({
            "volumes": [{ "name": "v", "hostPath": { "path": dir } }],
            "containers": [
                shell("exec", SLEEP, json!({
                    "readinessProbe": exec, "volumeMounts": [{ "name": "v", "mountPath": "/v" }],
                })),
                agnhost("http", &["netexec", "--http-port=8080", "--udp-port=-1"],
                    json!({ "readinessProbe": http })),
                agnhost("tcp", &["netexec", "--http-port=8081", "--udp-port=-1"],
                    json!({ "readinessProbe": tcp })),
                agnhost("grpc", &["grpc-health-checking", "--http-port=8082"],
                    json!({ "readinessProbe": grpc })),
            ],
        }),
    ))?;
    pod.ready().await?;
    std::fs::remove_file(dir.join("fine"))?;
    let seen = pod.until("not ready", |pod| !is_ready(pod)).await?;
    for (name, ready) in [("exec", false), ("http", true), ("tcp", true), ("grpc", true)] {
        equal(&format!("{name} is ready"), &container(&seen, name)["ready"], &json!(ready))?;
    }
    std::fs::write(dir.join("fine"), "")?;
    pod.ready().await?;
    pod.remove().await
}

/// The container that fails is killed and started again; the one beside it is not.
pub async fn a_failed_liveness_probe_restarts_the_container(site: &Site) -> Result<()> {
    let live = every_second(json!({
        "exec": { "command": ["test", "!", "-e", "/tmp/sick"] }, "failureThreshold": 1,
    }));
    // Sick once only: the second attempt finds a fresh file system.
    let script = format!("sleep 2; touch /tmp/sick; {SLEEP}");
    let pod = site.apply(&pod(
        "liveness",
        json!({ "containers": [
        shell("sick", &script, json!({ "livenessProbe": live })),
        shell("well", SLEEP, json!({})),
    ] }),
    ))?;
    let restarted = |pod: &Value| container(pod, "sick")["restartCount"].as_u64() >= Some(1);
    let seen = pod.until("restarted", restarted).await?;
    so(
        "the last state is told",
        container(&seen, "sick")["lastState"]["terminated"].is_object(),
        &seen,
    )?;
    equal("restarts beside it", &container(&seen, "well")["restartCount"], &json!(0))?;
    pod.remove().await
}

/// Until the startup probe has passed, a liveness probe that would fail is not asked.
pub async fn a_startup_probe_holds_the_others_back(site: &Site) -> Result<()> {
    let up = json!({ "exec": { "command": ["test", "-e", "/tmp/up"] } });
    let mut start = every_second(up.clone());
    start["failureThreshold"] = json!(30);
    let mut live = every_second(up);
    live["failureThreshold"] = json!(1);
    let pod = site.apply(&pod(
        "startup",
        json!({ "containers": [
        shell("slow", &format!("sleep 4; touch /tmp/up; {SLEEP}"),
            json!({ "startupProbe": start, "livenessProbe": live })),
    ] }),
    ))?;
    let seen = pod.until("started", |pod| container(pod, "slow")["started"] == true).await?;
    equal("restarts", &container(&seen, "slow")["restartCount"], &json!(0))?;
    pod.remove().await
}
