// SPDX-License-Identifier: Apache-2.0
//! Stage: the pod's place in the pod network.

use std::net::IpAddr;

use crate::{
    network::{AttachRequest, NetworkError},
    pods::{
        context::Context,
        error::{FaultKind, PodError},
        progress::Stage,
        record::PodRecord,
        spec::Sharing,
    },
};

/// Joins the pod network and answers with the pod's addresses, the primary one first.
///
/// # Errors
/// [`PodError`] naming the pod; the network room has undone its part.
pub async fn set_up(context: &Context, pod: &PodRecord) -> Result<Vec<IpAddr>, PodError> {
    if pod.config.namespaces.network == Sharing::Node {
        return Ok(Vec::new());
    }
    let _stage = context.progress.begin(Stage::Network, &pod.id);
    let config = &pod.config;
    let request = AttachRequest {
        name: config.metadata.name.clone(),
        namespace: config.metadata.namespace.clone(),
        uid: config.metadata.uid.clone(),
        netns: context.layout.namespaces(&pod.id).join("net"),
        port_mappings: config.port_mappings.clone(),
        dns: config.dns.clone(),
        cgroup: context.cgroups.parent_path(&pod.cgroup.path),
        annotations: config.annotations.clone(),
    };
    let attached = context.network.attach(&pod.id, &request).await;
    Ok(attached.map_err(|error| failed(pod, error))?.ips)
}

/// Leaves the pod network. One that was never joined, or whose namespace is gone, is left.
///
/// # Errors
/// [`PodError`] naming the pod.
pub async fn undo(context: &Context, pod: &PodRecord) -> Result<(), PodError> {
    if pod.config.namespaces.network == Sharing::Node {
        return Ok(());
    }
    let _stage = context.progress.begin(Stage::NetworkUndo, &pod.id);
    context.network.detach(&pod.id).await.map_err(|error| failed(pod, error))
}

fn failed(pod: &PodRecord, error: NetworkError) -> PodError {
    let kind = match &error {
        NetworkError::Request { .. } => FaultKind::Invalid,
        NetworkError::NotReady(_) => FaultKind::Unavailable,
        late if late.is_deadline() => FaultKind::Deadline,
        _ => FaultKind::Internal,
    };
    PodError::step(format!("network of pod {}", pod.id), kind, error)
}
