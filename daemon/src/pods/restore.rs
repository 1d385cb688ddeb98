// SPDX-License-Identifier: Apache-2.0
//! After a restart: reads all records, connects to all shims at once, asks what became of every
//! container, undoes what was half-made. One bad pod delays no other and stops nothing.

use std::{fs, path::Path, sync::Arc};

use crisp_words::{ContainerId, SandboxId};
use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use tokio::time::timeout;

use super::{
    actor::Beginning,
    clock,
    context::Context,
    error::PodError,
    members,
    reconcile::{self, Evidence, Fate, PodFate, ShimEvidence},
    record::{Answer, CgroupOwner, Maker, PodCgroup, PodPhase, PodRecord},
    shim::PodShim,
    spec::{PodConfig, PodMetadata, Resources},
    stages::sandbox_container,
    teardown::{self, Left},
};
use crate::{
    containers::{
        self, exit,
        record::{ContainerRecord, HostState, Phase},
        spec::{ContainerConfig, ContainerMetadata},
    },
    files,
    shims::{LogPipe, ShimError, TaskExit, TaskRef},
    store::{self, RecordError},
};

/// Brings back the pods that outlived the last daemon.
pub async fn restore(context: &Arc<Context>) -> Vec<Beginning> {
    let pods = read_pods(context);
    let (mut containers, damaged) = read_containers(context);
    sweep(context, &pods, &containers);
    let all: FuturesUnordered<_> = pods
        .into_iter()
        .map(|record| {
            let (mine, rest) = containers.drain(..).partition(|c| c.pod == record.id);
            containers = rest;
            restore_pod(context, record, mine, &damaged)
        })
        .collect();
    let restored: Vec<_> = all.filter_map(|pod| async { pod }).collect().await;
    for record in &containers {
        tracing::warn!(container = %record.id, "its pod is gone; removing it");
    }
    let taken = |id: &ContainerId| {
        restored.iter().flat_map(|pod| &pod.containers).any(|container| container.id == *id)
    };
    // A damaged record of which no shim knows the container: whatever there is of it is undone.
    // Its pod is not known; no pod has its own id.
    let lost = damaged.into_iter().filter(|id| !taken(id));
    containers.extend(lost.filter_map(|id| {
        let no_pod = SandboxId::new(id.as_str()).ok()?;
        Some(stand_in(id, no_pod))
    }));
    join_all(containers.iter().map(|record| undo_container(context, None, record))).await;
    restored
}

/// What no pod and no container holds any more, as after a reboot.
pub struct LeftOver {
    attachments: Vec<SandboxId>,
    layers: Vec<ContainerId>,
}

/// Finds attachments and writable layers whose pods and containers did not come back.
pub async fn left_over(context: &Context, restored: &[Beginning]) -> LeftOver {
    let pending = context.network.pending().unwrap_or_else(|error| {
        tracing::warn!(%error, "attachments cannot be listed");
        Vec::new()
    });
    let layers = context.rootfs.known().await.unwrap_or_else(|error| {
        tracing::warn!(%error, "writable layers cannot be listed");
        Vec::new()
    });
    let lives = |id: &SandboxId| restored.iter().any(|pod| pod.record.id == *id);
    LeftOver {
        attachments: pending.into_iter().map(|p| p.pod).filter(|pod| !lives(pod)).collect(),
        layers: layers.into_iter().filter(|id| !context.layout.container(id).exists()).collect(),
    }
}

impl LeftOver {
    /// Gives it back, beside the first requests.
    pub async fn clean_up(self, context: Arc<Context>) {
        for pod in &self.attachments {
            if let Err(error) = context.network.detach(pod).await {
                tracing::warn!(%pod, %error, "attachment of a pod that is gone is not released");
            }
        }
        for id in &self.layers {
            if let Err(error) = context.rootfs.remove(id).await {
                tracing::warn!(container = %id, %error, "writable layer is not removed");
            }
        }
    }
}

async fn restore_pod(
    context: &Arc<Context>,
    record: PodRecord,
    containers: Vec<ContainerRecord>,
    damaged: &[ContainerId],
) -> Option<Beginning> {
    let shim = connect(context, &record).await;
    let seen = if shim.is_some() { ShimEvidence::Lives } else { ShimEvidence::Gone };
    match reconcile::pod(record, seen) {
        PodFate::Undo(mut record) => {
            let pending = undo_pod(context, &record, shim.as_ref()).await;
            if pending.is_empty() {
                return None;
            }
            record.phase = PodPhase::NotReady { pending };
            Some(Beginning { record: *record, containers: Vec::new(), shim })
        }
        PodFate::Keep(record) => {
            rejoin(context, &shim, &containers).await;
            let mine = adopt(context, &shim, &record.id, damaged).await;
            let all = containers.into_iter().chain(mine);
            let fates = all.map(|c| restore_container(context, &shim, c));
            let containers = join_all(fates).await.into_iter().flatten().collect();
            Some(Beginning { record: *record, containers, shim })
        }
    }
}

/// Undoes a half-made pod; answers with what is left of it. Others wait for this, so it must not
/// take long: what hangs is left to the pod's removal.
async fn undo_pod(context: &Context, record: &PodRecord, shim: Option<&PodShim>) -> Vec<String> {
    let undone = async {
        let left = teardown::teardown(context, record, shim).await;
        match left.is_empty() {
            true => {
                teardown::erase(context, record).await.err().map(Left::from).into_iter().collect()
            }
            false => left,
        }
    };
    match timeout(context.limits.reconnect, undone).await {
        Ok(left) => left.iter().map(ToString::to_string).collect(),
        Err(_) => {
            let limit = context.limits.reconnect;
            tracing::warn!(pod = %record.id, ?limit, "half-made pod is not undone in time");
            vec![format!("its half-made sandbox was not undone within {limit:?}")]
        }
    }
}

/// Containers of damaged records that the pod's shim knows: they are listed by id and end with
/// their pod.
async fn adopt(
    context: &Context,
    shim: &Option<PodShim>,
    pod: &SandboxId,
    damaged: &[ContainerId],
) -> Vec<ContainerRecord> {
    let mut mine = Vec::new();
    for id in damaged {
        if let (Evidence::Task { .. }, _) = ask(context, shim, id).await {
            mine.push(stand_in(id.clone(), pod.clone()));
        }
    }
    mine
}

/// Finds the shims of containers that have one of their own.
async fn rejoin(context: &Context, shim: &Option<PodShim>, containers: &[ContainerRecord]) {
    let Some(shim) = shim.as_ref().filter(|shim| shim.record.maker == Maker::Other) else { return };
    let all = containers.iter().map(|c| members::rejoin(context, shim, &c.id));
    join_all(all).await;
}

async fn connect(context: &Context, record: &PodRecord) -> Option<PodShim> {
    // A pod that was being made has its shim's address in the bundle only.
    let bundle = context.layout.sandbox_bundle(&record.id);
    let known = record.shim.clone().or_else(|| {
        let handler = context.handlers.choose(&record.handler).ok()?;
        super::shim::from_bundle(&bundle, &handler.shim, handler.maker())
    })?;
    let limit = context.limits.reconnect;
    let task = TaskRef::sandbox(&record.id);
    let connected = async {
        let mut shim = PodShim::connect(known, context.launcher.namespace(), limit).await?;
        // One known from its bundle only has no pid on record.
        shim.record.pid = shim.client.connected(task, limit).await?.shim_pid;
        if shim.record.maker == Maker::Other {
            shim.helper = Some(sandbox_container::io_helper(context, record, limit).await?);
            shim = shim.with_log(LogPipe::open(&bundle, record.id.as_str())?);
        }
        Ok::<_, ShimError>(shim)
    };
    match connected.await {
        Ok(shim) => Some(shim),
        Err(error) => {
            tracing::warn!(pod = %record.id, %error, "shim does not answer");
            None
        }
    }
}

async fn restore_container(
    context: &Context,
    shim: &Option<PodShim>,
    record: ContainerRecord,
) -> Option<ContainerRecord> {
    let (evidence, told) = match &record.phase {
        Phase::Exited(_) => (Evidence::NoTask, None),
        _ => ask(context, shim, &record.id).await,
    };
    let exit = match (exit::read_record(context, &record.id), told, shim) {
        (None, Some(told), Some(shim)) if shim.record.maker == Maker::Other => {
            Some(exit::told(context, shim, &record, &told).await)
        }
        (on_record, ..) => on_record,
    };
    let id = record.id.clone();
    match reconcile::container(record.clone(), &evidence, exit.as_ref(), clock::now_ns()) {
        Fate::Undo if undo_container(context, shim.as_ref(), &record).await => None,
        // What is left of it shows as a container that never ran, and goes when it is removed.
        Fate::Undo => {
            let phase = Phase::Exited(reconcile::never_made(clock::now_ns()));
            let kept = ContainerRecord { phase, answer: Answer::Given, ..record };
            if let Err(error) = context.write_container(&kept) {
                tracing::warn!(container = %id, %error, "change is not on record");
            }
            Some(kept)
        }
        Fate::Keep(kept) => {
            if *kept != record
                && let Err(error) = context.write_container(&kept)
            {
                tracing::warn!(container = %id, %error, "change is not on record");
            }
            Some(*kept)
        }
    }
}

/// What the shim says of a container, and how that ended if it did.
async fn ask(
    context: &Context,
    shim: &Option<PodShim>,
    id: &ContainerId,
) -> (Evidence, Option<TaskExit>) {
    let Some(shim) = shim else { return (Evidence::NoShim, None) };
    let state = match shim.of(id) {
        Ok(client) => client.state(TaskRef::container(id), context.limits.reconnect).await,
        Err(error) => Err(error),
    };
    match state {
        Ok(state) => (Evidence::Task { status: state.status, pid: state.pid }, state.exit),
        Err(ShimError::NotFound { .. }) => (Evidence::NoTask, None),
        Err(error) => {
            tracing::warn!(container = %id, %error, "shim does not tell its state");
            (Evidence::NoShim, None)
        }
    }
}

/// Undoes a half-made container. Others wait for this, so it must not take long: true if all is
/// done.
async fn undo_container(
    context: &Context,
    shim: Option<&PodShim>,
    record: &ContainerRecord,
) -> bool {
    let limit = context.limits.reconnect;
    let undone = async {
        containers::release::release(context, shim, record).await?;
        containers::erase::erase(context, &record.id).await
    };
    let step = || format!("undo half-made container {}", record.id);
    let undone = timeout(limit, undone).await;
    let undone = undone.unwrap_or_else(|_| Err(PodError::Deadline { step: step(), limit }));
    if let Err(error) = &undone {
        tracing::warn!(container = %record.id, %error, "half-made container is not undone");
    }
    undone.is_ok()
}

fn read_pods(context: &Context) -> Vec<PodRecord> {
    let ids = entries(&context.layout.pods()).filter_map(|name| SandboxId::new(name).ok());
    ids.filter_map(|id| match store::read::<PodRecord>(&context.layout.pod_record(&id)) {
        Ok(record) => Some(record),
        Err(RecordError::Missing { .. }) => None,
        Err(error) => {
            tracing::error!(pod = %id, %error, "pod is not usable");
            Some(unreadable(context, id, &error))
        }
    })
    .collect()
}

/// A stand-in for a record that cannot be read: listed as not ready, stopped and removed by id.
fn unreadable(context: &Context, id: SandboxId, error: &RecordError) -> PodRecord {
    let metadata = PodMetadata {
        name: "unreadable-record".into(),
        uid: id.to_string(),
        namespace: "unknown".into(),
        attempt: 0,
    };
    PodRecord {
        cgroup: PodCgroup { path: context.cgroups.own_pod(&id), owner: CgroupOwner::Crisp },
        id,
        config: PodConfig { metadata, ..PodConfig::default() },
        requested_handler: String::new(),
        handler: context.handlers.default_handler().name.clone(),
        created_at_ns: clock::now_ns(),
        phase: PodPhase::NotReady { pending: vec![error.to_string()] },
        answer: Answer::Given,
        ips: Vec::new(),
        shim: None,
    }
}

/// All containers' records, and the ids of those that cannot be read.
fn read_containers(context: &Context) -> (Vec<ContainerRecord>, Vec<ContainerId>) {
    let (mut records, mut damaged) = (Vec::new(), Vec::new());
    for id in entries(&context.layout.containers()).filter_map(|n| ContainerId::new(n).ok()) {
        match store::read(&context.layout.container_record(&id)) {
            Ok(record) => records.push(record),
            Err(RecordError::Missing { .. }) => {}
            Err(error) => {
                tracing::error!(container = %id, %error, "container is not usable");
                damaged.push(id);
            }
        }
    }
    (records, damaged)
}

/// A stand-in for a container's record that cannot be read: taken for made, so that the shim
/// tells whether it runs.
fn stand_in(id: ContainerId, pod: SandboxId) -> ContainerRecord {
    let metadata = ContainerMetadata { name: format!("unreadable-record-{id}"), attempt: 0 };
    ContainerRecord {
        id,
        pod,
        config: ContainerConfig { metadata, ..ContainerConfig::default() },
        created_at_ns: clock::now_ns(),
        phase: Phase::Created,
        answer: Answer::Given,
        made: None,
        resources: Resources::default(),
        host: HostState::Held,
    }
}

/// Removes directories that no record speaks of: an erase that was cut short after its record
/// went, or a making that was cut short before its record came.
fn sweep(context: &Context, pods: &[PodRecord], containers: &[ContainerRecord]) {
    let layout = &context.layout;
    for name in entries(&layout.pods()) {
        let dir = layout.pods().join(&name);
        if !dir.join("pod.json").exists() {
            remove(&dir);
        }
    }
    for name in entries(&layout.containers()) {
        let dir = layout.containers().join(&name);
        if !dir.join("container.json").exists() {
            remove(&dir);
        }
    }
    let known = |name: &str| {
        pods.iter().any(|p| p.id.as_str() == name)
            || containers.iter().any(|c| c.id.as_str() == name)
    };
    for name in entries(&layout.bundles()).filter(|name| !known(name)) {
        // A container whose record cannot be read keeps its bundle.
        if ContainerId::new(name.clone()).is_ok_and(|id| !layout.container_record(&id).exists()) {
            remove(&layout.bundles().join(name));
        }
    }
}

fn remove(dir: &Path) {
    if let Err(error) = files::remove_tree(dir) {
        tracing::warn!(dir = %dir.display(), %error, "left-over is not removed");
    }
}

fn entries(dir: &Path) -> impl Iterator<Item = String> + use<> {
    let listed = fs::read_dir(dir).into_iter().flatten().flatten();
    listed.filter_map(|entry| entry.file_name().into_string().ok())
}
