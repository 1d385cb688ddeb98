// SPDX-License-Identifier: Apache-2.0
//! Asks the daemon, over the CRI socket like any other client.

use std::{collections::HashMap, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use crisp_cri::{self as v1, runtime_service_client::RuntimeServiceClient};
use futures::{StreamExt, stream};
use serde_json::Value;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

use super::{
    memory,
    report::{Condition, Container, Daemon, Disk, Pod, Report, Shim},
};
use crate::cri::report::{NODE_KEY, NodeReport};

/// How long the daemon may take to answer one call.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pods that are asked about at once.
const AT_ONCE: usize = 16;
/// The most that is taken in one message, bytes.
const MESSAGE_MAX: usize = 64 << 20;

type Client = RuntimeServiceClient<Channel>;

/// What the daemon says.
pub(super) async fn ask(socket: &Path) -> Result<Report> {
    let endpoint = Endpoint::try_from(format!("unix:{}", socket.display()))
        .with_context(|| format!("{} is no socket path", socket.display()))?
        .connect_timeout(PATIENCE)
        .timeout(PATIENCE);
    let channel = timeout(PATIENCE, endpoint.connect()).await??;
    let mut client = RuntimeServiceClient::new(channel).max_decoding_message_size(MESSAGE_MAX);
    let status = client.status(v1::StatusRequest { verbose: true }).await?.into_inner();
    let node: NodeReport = status
        .info
        .get(NODE_KEY)
        .context("what answers there is no crisp, or one too old to tell its state")
        .and_then(|text| Ok(serde_json::from_str(text)?))?;
    let list = client.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await?.into_inner();
    let containers = client.list_containers(v1::ListContainersRequest::default()).await?;
    let mut by_pod: HashMap<String, Vec<Container>> = HashMap::new();
    for container in containers.into_inner().containers {
        let shown = Container {
            name: container.metadata.map(|m| m.name).unwrap_or_default(),
            state: state_of(v1::ContainerState::try_from(container.state)),
            id: container.id,
        };
        by_pod.entry(container.pod_sandbox_id).or_default().push(shown);
    }
    let pods = stream::iter(list.items)
        .map(|item| {
            let containers = by_pod.remove(&item.id).unwrap_or_default();
            pod(client.clone(), item, containers)
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    Ok(report(socket, status.status.unwrap_or_default().conditions, node, pods))
}

fn report(
    socket: &Path,
    conditions: Vec<v1::RuntimeCondition>,
    node: NodeReport,
    pods: Vec<Pod>,
) -> Report {
    let conditions = conditions.into_iter().map(|condition| Condition {
        name: condition.r#type,
        holds: condition.status,
        reason: condition.reason,
        message: condition.message,
    });
    Report {
        socket: socket.to_owned(),
        failure: None,
        daemon: Daemon {
            version: Some(node.version),
            memory: memory::pss(node.boot.pid),
            boot: Some(node.boot),
            lives: true,
        },
        conditions: conditions.collect(),
        default_handler: Some(node.default_handler),
        handlers: node.handlers,
        network: node.network,
        pods,
        disks: Disk::of(node.images.path.clone()).into_iter().collect(),
        images: Some(node.images),
        pending: node.pending,
        stages: node.stages,
    }
}

/// One pod. It may be gone by now: then the list's word has to do.
async fn pod(mut client: Client, item: v1::PodSandbox, containers: Vec<Container>) -> Pod {
    let request = v1::PodSandboxStatusRequest { pod_sandbox_id: item.id.clone(), verbose: true };
    let info = match client.pod_sandbox_status(request).await {
        Ok(answer) => answer.into_inner().info.remove("info").unwrap_or_default(),
        Err(_) => String::new(),
    };
    let info: Value = serde_json::from_str(&info).unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let pid = info["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0);
    let version = text(&info["shimVersion"]);
    let metadata = item.metadata.unwrap_or_default();
    Pod {
        id: item.id,
        namespace: metadata.namespace,
        name: metadata.name,
        state: match v1::PodSandboxState::try_from(item.state) {
            Ok(v1::PodSandboxState::SandboxReady) => "ready",
            _ => "not ready",
        },
        handler: text(&info["handler"]).unwrap_or(item.runtime_handler),
        shim: Shim {
            lives: version.is_some(),
            version,
            fault: text(&info["shimFault"]),
            memory: pid.and_then(memory::pss),
            replaced: pid.is_some_and(memory::is_replaced),
            pid,
        },
        containers,
    }
}

fn state_of<E>(state: Result<v1::ContainerState, E>) -> &'static str {
    match state {
        Ok(v1::ContainerState::ContainerCreated) => "created",
        Ok(v1::ContainerState::ContainerRunning) => "running",
        Ok(v1::ContainerState::ContainerExited) => "exited",
        _ => "unknown",
    }
}
