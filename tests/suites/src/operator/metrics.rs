// SPDX-License-Identifier: Apache-2.0
//! The Prometheus endpoint.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use crisp_conformance::{
    fixture::Test,
    want::{contains, within},
};
use crisp_cri::{LinuxContainerConfig, LinuxContainerResources};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
};

use crate::{node::Node, stage::Stage};

/// A port of the network namespace that the suites have for themselves.
const PORT: u16 = 19_090;

/// On a socket of the node's.
pub fn enabled(node: &Node) -> Result<()> {
    let socket = node.dir().join("metrics");
    node.configure(&format!(
        "[metrics]\nenable_metrics = true\nmetrics_port = 0\nmetrics_socket = {socket:?}"
    ))
}

/// On a port that somebody else has.
pub fn on_a_port(node: &Node) -> Result<()> {
    node.configure(&format!("[metrics]\nenable_metrics = true\nmetrics_port = {PORT}"))
}

/// Calls, errors, pulls, shims, stages, pods and an OOM kill are counted as they happen.
pub async fn a_scrape_tells_what_happened(stage: &mut Stage) -> Result<()> {
    let (pod, container) = stage.pod_with_container().await?;
    ensure!(stage.test.pull("nobody.invalid/no/image:1").await.is_err(), "pulled from nowhere");
    let text = scrape(&stage.node).await?;
    for line in [
        "crisp_operations_total{operation=\"RunPodSandbox\"} 1",
        "crisp_operations_latency_seconds_count{operation=\"RunPodSandbox\"} 1",
        "crisp_operations_errors_total{operation=\"PullImage\",code=\"",
        "crisp_image_pulls_success_total 1",
        "crisp_image_pulls_failure_total{operation=\"PullImage\",code=\"",
        "crisp_shims_started_total 1",
        "crisp_shims_died_total 0",
        "crisp_pods{state=\"ready\"} 1",
        "crisp_containers{state=\"running\"} 1",
        "crisp_stage_seconds_count{stage=\"network\"} 1",
        "crisp_stage_seconds_count{stage=\"shim\"} 1",
        "crisp_stage_seconds_count{stage=\"create\"} 1",
        "crisp_resources_stalled_at_stage{stage=\"network\"} 0",
        "crisp_daemon_starts_total 1",
        "crisp_build_info{version=\"",
        "# EOF",
    ] {
        contains("the scrape", &text, line)?;
    }
    let bytes = value(&text, "crisp_image_pulls_bytes_total")?;
    ensure!(bytes > 1000.0, "{bytes} bytes were pulled");

    eat_memory(&stage.test, &pod).await?;
    within(Duration::from_secs(10), "the OOM kill is counted", async || {
        let text = scrape(&stage.node).await?;
        let counted = text.contains("crisp_containers_oom_total 1");
        Ok(if counted { Ok(()) } else { Err(text) })
    })
    .await?;
    drop(container);
    stage.node.again().await?;
    let text = scrape(&stage.node).await?;
    contains("the scrape after a restart", &text, "crisp_daemon_starts_total 2")?;
    contains("the scrape after a restart", &text, "crisp_pods{state=\"ready\"} 1")
}

/// Pods do not depend on a port.
pub async fn a_taken_port_costs_the_metrics_alone(stage: &mut Stage) -> Result<()> {
    let text = get(TcpStream::connect(("127.0.0.1", PORT)).await?).await?;
    contains("the scrape", &text, "crisp_build_info")?;
    stage.node.kill().await?;
    let _taken = TcpListener::bind(("127.0.0.1", PORT)).await?;
    stage.node.start().await?;
    stage.pod_with_container().await?;
    contains("the log", &stage.node.log(), "metrics are not served")?;
    contains("the log", &stage.node.log(), &PORT.to_string())
}

async fn eat_memory(_: &Test, pod: &crisp_conformance::pod::Pod) -> Result<()> {
    let container = pod
        .start(|config| {
            config.command =
                ["sh", "-c", "a=x; while :; do a=$a$a; done"].map(str::to_owned).to_vec();
            config.linux = Some(LinuxContainerConfig {
                resources: Some(LinuxContainerResources {
                    memory_limit_in_bytes: 24 << 20,
                    memory_swap_limit_in_bytes: 24 << 20,
                    ..Default::default()
                }),
                ..Default::default()
            });
        })
        .await?;
    let status = container.exited().await?;
    ensure!(status.reason == "OOMKilled", "{status:?}");
    Ok(())
}

/// The value of a metric without labels.
fn value(text: &str, name: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no {name} in {text}"))?.parse()?)
}

async fn scrape(node: &Node) -> Result<String> {
    get(UnixStream::connect(node.dir().join("metrics")).await?).await
}

/// `GET /metrics` over a connection of its own.
async fn get(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) -> Result<String> {
    let request = "GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    contains("the answer", &text, "HTTP/1.1 200")?;
    contains("the answer", &text, "application/openmetrics-text; version=1.0.0")?;
    Ok(text)
}
