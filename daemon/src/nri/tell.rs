// SPDX-License-Identifier: Apache-2.0
//! Events of pods and containers, told to plugins in their order. Without plugins nothing is
//! made to be told.
//!
//! What a plugin says no to does not happen where the event comes before the act; an event of
//! something that has happened, or that must not be hindered, only leaves a line in the log.

use std::{path::PathBuf, sync::Arc};

use crisp_nri::{self as nri, Event, StateChangeEvent};
use protobuf::Message;
use serde_json::Value;

use super::{
    books::{Coming, Passage},
    describe,
    error::NriError,
    merge::Updates,
    plugin::Plugin,
    updates,
};
use crate::{
    containers::record::ContainerRecord,
    pods::{
        context::Context,
        record::PodRecord,
        spec::{PidSharing, Resources, Sharing},
    },
};

/// Told of something that happened to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// It was made.
    Created,
    /// It was started.
    Started,
    /// Its limits were changed.
    Updated,
}

/// A pod as plugins see it.
pub(super) fn pod_of(context: &Context, record: &PodRecord) -> nri::PodSandbox {
    let wanted = &record.config.namespaces;
    let pins = context.layout.namespaces(&record.id);
    let all = [
        ("network", "net", wanted.network == Sharing::Pod),
        ("ipc", "ipc", wanted.ipc == Sharing::Pod),
        ("uts", "uts", wanted.network == Sharing::Pod),
        ("pid", "pid", wanted.pid == PidSharing::Pod),
        ("user", "user", wanted.user.is_some()),
    ];
    let own = all.into_iter().filter(|(_, _, own)| *own);
    describe::pod(record, own.map(|(kind, file, _)| (kind, pins.join(file))).collect())
}

/// A container as plugins see it.
pub(super) async fn container_of(context: &Context, record: &ContainerRecord) -> nri::Container {
    let path = context.layout.bundle(&record.id).join(crisp_words::bundle::CONFIG);
    describe::container(record, &read_spec(path).await)
}

/// The spec that a container was made with; null if it is not there (yet, or any more).
async fn read_spec(path: PathBuf) -> Value {
    let read = tokio::task::spawn_blocking(move || {
        let bytes = std::fs::read(&path)?;
        serde_json::from_slice(&bytes).map_err(std::io::Error::other)
    });
    match read.await {
        Ok(Ok(spec)) => spec,
        _ => Value::Null,
    }
}

/// The plugins that want to hear of `event` and are there, one after the other.
pub(super) async fn listeners(plugins: &[Arc<Plugin>], event: Event) -> Vec<&Arc<Plugin>> {
    let mut listeners = Vec::new();
    for plugin in plugins.iter().filter(|plugin| plugin.events.has(event)) {
        if plugin.is_ready().await {
            listeners.push(plugin);
        }
    }
    listeners
}

/// A plugin that fails is dropped and passed over; one that says no has its say.
pub(super) fn heed<T>(answer: Result<T, NriError>) -> Result<Option<T>, NriError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_fatal() => {
            tracing::error!(%error, "NRI plugin is dropped");
            Ok(None)
        }
        Err(error @ NriError::Unknown { .. }) => {
            tracing::debug!(%error, "event is not told");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn change(pod: &nri::PodSandbox, container: Option<&nri::Container>) -> StateChangeEvent {
    StateChangeEvent {
        pod: Some(pod.clone()).into(),
        container: container.cloned().into(),
        ..Default::default()
    }
}

/// Tells all; what they answer cannot change anything any more.
async fn notify<M: Message, A: Message>(
    plugins: &[Arc<Plugin>],
    event: Event,
    request: &M,
    change: impl Fn() -> StateChangeEvent,
) {
    for plugin in listeners(plugins, event).await {
        if let Err(error) = heed(plugin.tell::<M, A>(event, request, &change).await) {
            tracing::warn!(%error, "NRI plugin");
        }
    }
}

/// A pod has been made and is about to be shown.
///
/// # Errors
/// A plugin's no; those that were told before it have been told of the pod's end.
pub async fn run_pod(context: &Context, record: &PodRecord) -> Result<Passage, NriError> {
    let coming = Coming::Pod(Arc::new(record.clone()));
    let passage = context.nri.books().coming(record.id.as_str(), coming);
    if passage.plugins.is_empty() {
        return Ok(passage);
    }
    let pod = pod_of(context, record);
    let request = nri::RunPodSandboxRequest { pod: Some(pod.clone()).into(), ..Default::default() };
    let event = Event::RUN_POD_SANDBOX;
    let mut told = Vec::new();
    for plugin in listeners(&passage.plugins, event).await {
        let answer = plugin
            .tell::<_, nri::RunPodSandboxResponse>(event, &request, || change(&pod, None))
            .await;
        match heed(answer) {
            Ok(Some(())) => told.push(plugin.clone()),
            Ok(None) => {}
            Err(error) => {
                tell_removed_pod(&told, &pod).await;
                return Err(error);
            }
        }
    }
    Ok(passage)
}

/// A pod that plugins were told of was not made after all.
pub async fn undo_pod(context: &Context, record: &PodRecord, passage: Passage) {
    if !passage.plugins.is_empty() {
        tell_removed_pod(&passage.plugins, &pod_of(context, record)).await;
    }
}

async fn tell_removed_pod(plugins: &[Arc<Plugin>], pod: &nri::PodSandbox) {
    let request =
        nri::RemovePodSandboxRequest { pod: Some(pod.clone()).into(), ..Default::default() };
    let event = Event::REMOVE_POD_SANDBOX;
    notify::<_, nri::RemovePodSandboxResponse>(plugins, event, &request, || change(pod, None))
        .await;
}

/// A pod's containers have ended; it is about to be taken down.
pub async fn stop_pod(context: &Context, record: &PodRecord) {
    let plugins = context.nri.books().plugins();
    if plugins.is_empty() {
        return;
    }
    let pod = pod_of(context, record);
    let request =
        nri::StopPodSandboxRequest { pod: Some(pod.clone()).into(), ..Default::default() };
    let event = Event::STOP_POD_SANDBOX;
    notify::<_, nri::StopPodSandboxResponse>(&plugins, event, &request, || change(&pod, None))
        .await;
}

/// A pod is about to be erased. It counts as going until the answer is dropped.
pub async fn remove_pod(context: &Context, record: &PodRecord) -> Passage {
    let passage = context.nri.books().going(record.id.as_str());
    if !passage.plugins.is_empty() {
        tell_removed_pod(&passage.plugins, &pod_of(context, record)).await;
    }
    passage
}

/// A pod's sums of resources are about to be noted.
///
/// # Errors
/// A plugin's no.
pub async fn update_pod(
    context: &Context,
    record: &PodRecord,
    overhead: Option<&Resources>,
    sum: Option<&Resources>,
) -> Result<(), NriError> {
    let plugins = context.nri.books().plugins();
    let pod = pod_of(context, record);
    let limits = |of: Option<&Resources>| of.map(super::resources::from_request).into();
    let request = nri::UpdatePodSandboxRequest {
        pod: Some(pod.clone()).into(),
        overhead_linux_resources: limits(overhead),
        linux_resources: limits(sum),
        ..Default::default()
    };
    let event = Event::UPDATE_POD_SANDBOX;
    for plugin in listeners(&plugins, event).await {
        let answer = plugin
            .tell::<_, nri::UpdatePodSandboxResponse>(event, &request, || change(&pod, None))
            .await;
        heed(answer)?;
    }
    Ok(())
}

/// A pod's sums of resources were noted.
pub async fn updated_pod(context: &Context, record: &PodRecord) {
    let plugins = context.nri.books().plugins();
    let pod = pod_of(context, record);
    let request =
        nri::PostUpdatePodSandboxRequest { pod: Some(pod.clone()).into(), ..Default::default() };
    let event = Event::POST_UPDATE_POD_SANDBOX;
    notify::<_, nri::PostUpdatePodSandboxResponse>(&plugins, event, &request, || {
        change(&pod, None)
    })
    .await;
}

/// Something happened to a container.
pub async fn happened(
    context: &Context,
    pod: &PodRecord,
    record: &ContainerRecord,
    what: Happened,
) {
    let plugins = context.nri.books().plugins();
    let pod = pod_of(context, pod);
    let container = container_of(context, record).await;
    let change = || change(&pod, Some(&container));
    macro_rules! tell {
        ($event:ident, $request:ident, $response:ident) => {{
            let request = nri::$request {
                pod: Some(pod.clone()).into(),
                container: Some(container.clone()).into(),
                ..Default::default()
            };
            notify::<_, nri::$response>(&plugins, Event::$event, &request, change).await;
        }};
    }
    match what {
        Happened::Created => {
            tell!(POST_CREATE_CONTAINER, PostCreateContainerRequest, PostCreateContainerResponse);
        }
        Happened::Started => {
            tell!(POST_START_CONTAINER, PostStartContainerRequest, PostStartContainerResponse);
        }
        Happened::Updated => {
            tell!(POST_UPDATE_CONTAINER, PostUpdateContainerRequest, PostUpdateContainerResponse);
        }
    }
}

/// A container is about to be started.
///
/// # Errors
/// A plugin's no.
pub async fn start_container(
    context: &Context,
    pod: &PodRecord,
    record: &ContainerRecord,
) -> Result<(), NriError> {
    let plugins = context.nri.books().plugins();
    if plugins.is_empty() {
        return Ok(());
    }
    let pod = pod_of(context, pod);
    let container = container_of(context, record).await;
    let request = nri::StartContainerRequest {
        pod: Some(pod.clone()).into(),
        container: Some(container.clone()).into(),
        ..Default::default()
    };
    let event = Event::START_CONTAINER;
    for plugin in listeners(&plugins, event).await {
        let change = || change(&pod, Some(&container));
        heed(plugin.tell::<_, nri::StartContainerResponse>(event, &request, change).await)?;
    }
    Ok(())
}

/// A container has ended. Plugins may give what it had to others.
pub async fn stop_container(context: &Context, pod: &PodRecord, record: &ContainerRecord) {
    let plugins = context.nri.books().plugins();
    if plugins.is_empty() {
        return;
    }
    let request = nri::StopContainerRequest {
        pod: Some(pod_of(context, pod)).into(),
        container: Some(container_of(context, record).await).into(),
        ..Default::default()
    };
    let mut updates = Updates::default();
    for plugin in listeners(&plugins, Event::STOP_CONTAINER).await {
        let answer = plugin.ask::<nri::StopContainerResponse>("StopContainer", &request).await;
        let added = heed(answer).and_then(|answer| match answer {
            Some(answer) => updates.add(&answer.update, &plugin.name),
            None => Ok(()),
        });
        if let Err(error) = added {
            tracing::warn!(%error, container = %record.id, "NRI plugin");
        }
    }
    if let Err(error) = updates::carry_out(context, updates).await {
        tracing::warn!(%error, container = %record.id, "update asked for by an NRI plugin");
    }
}

/// A container is about to be erased. It counts as going until the answer is dropped.
pub async fn remove_container(
    context: &Context,
    pod: &PodRecord,
    record: &ContainerRecord,
) -> Passage {
    let passage = context.nri.books().going(record.id.as_str());
    if !passage.plugins.is_empty() {
        tell_removed(context, &passage.plugins, pod, record).await;
    }
    passage
}

pub(super) async fn tell_removed(
    context: &Context,
    plugins: &[Arc<Plugin>],
    pod: &PodRecord,
    record: &ContainerRecord,
) {
    let pod = pod_of(context, pod);
    let container = container_of(context, record).await;
    let request = nri::RemoveContainerRequest {
        pod: Some(pod.clone()).into(),
        container: Some(container.clone()).into(),
        ..Default::default()
    };
    let event = Event::REMOVE_CONTAINER;
    notify::<_, nri::RemoveContainerResponse>(plugins, event, &request, || {
        change(&pod, Some(&container))
    })
    .await;
}
