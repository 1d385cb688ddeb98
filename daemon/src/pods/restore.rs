// SPDX-License-Identifier: Apache-2.0
//! After a restart: reads all records, connects to all shims at once, asks what became of every
//! container, undoes what was half-made. One bad pod delays no other and stops nothing.

use std::{fs, path::Path, sync::Arc};

use crisp_words::{ContainerId, SandboxId};
use futures::{StreamExt, future::join_all, stream::FuturesUnordered};

use super::{
    actor::Beginning,
    clock,
    context::Context,
    reconcile::{self, Evidence, Fate, PodFate, ShimEvidence},
    record::{Answer, CgroupOwner, PodCgroup, PodPhase, PodRecord},
    shim::PodShim,
    spec::{PodConfig, PodMetadata},
    teardown,
};
use crate::{
    containers::{
        self, exit,
        record::{ContainerRecord, Phase},
    },
    files,
    shims::{ShimError, TaskRef},
    store::{self, RecordError},
};

/// Brings back the pods that outlived the last daemon.
pub async fn restore(context: &Arc<Context>) -> Vec<Beginning> {
    let (pods, mut containers) = (read_pods(context), read_containers(context));
    sweep(context, &pods, &containers);
    let all: FuturesUnordered<_> = pods
        .into_iter()
        .map(|record| {
            let (mine, rest) = containers.drain(..).partition(|c| c.pod == record.id);
            containers = rest;
            restore_pod(context, record, mine)
        })
        .collect();
    let restored: Vec<_> = all.filter_map(|pod| async { pod }).collect().await;
    for record in &containers {
        tracing::warn!(container = %record.id, "its pod is gone; removing it");
    }
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
) -> Option<Beginning> {
    let shim = connect(context, &record).await;
    let seen = if shim.is_some() { ShimEvidence::Lives } else { ShimEvidence::Gone };
    match reconcile::pod(record, seen) {
        PodFate::Undo(mut record) => {
            let left = teardown::teardown(context, &record, shim.as_ref()).await;
            if left.is_empty() && teardown::erase(context, &record).await.is_ok() {
                return None;
            }
            let pending = left.iter().map(ToString::to_string).collect();
            record.phase = PodPhase::NotReady { pending };
            Some(Beginning { record: *record, containers: Vec::new(), shim: None })
        }
        PodFate::Keep(record) => {
            let fates = containers.into_iter().map(|c| restore_container(context, &shim, c));
            let containers = join_all(fates).await.into_iter().flatten().collect();
            Some(Beginning { record: *record, containers, shim })
        }
    }
}

async fn connect(context: &Context, record: &PodRecord) -> Option<PodShim> {
    // A pod that was being made has its shim's address in the bundle only.
    let bundle = context.layout.sandbox_bundle(&record.id);
    let known = record.shim.clone().or_else(|| {
        let handler = context.handlers.choose(&record.handler).ok()?;
        super::shim::from_bundle(&bundle, &handler.shim)
    })?;
    let limit = context.limits.reconnect;
    let task = TaskRef::sandbox(&record.id);
    let connected = async {
        let shim = PodShim::connect(known, context.launcher.namespace(), limit).await?;
        shim.client.connected(task, limit).await?;
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
    let evidence = match &record.phase {
        Phase::Exited(_) => Evidence::NoTask,
        _ => ask(context, shim, &record.id).await,
    };
    let exit = exit::read_record(context, &record.id);
    let id = record.id.clone();
    match reconcile::container(record.clone(), &evidence, exit.as_ref(), clock::now_ns()) {
        Fate::Undo => {
            undo_container(context, shim.as_ref(), &record).await;
            None
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

async fn ask(context: &Context, shim: &Option<PodShim>, id: &ContainerId) -> Evidence {
    let Some(shim) = shim else { return Evidence::NoShim };
    match shim.client.state(TaskRef::container(id), context.limits.reconnect).await {
        Ok(state) => Evidence::Task { status: state.status, pid: state.pid },
        Err(ShimError::NotFound { .. }) => Evidence::NoTask,
        Err(error) => {
            tracing::warn!(container = %id, %error, "shim does not tell its state");
            Evidence::NoShim
        }
    }
}

async fn undo_container(context: &Context, shim: Option<&PodShim>, record: &ContainerRecord) {
    let undone = async {
        containers::release::release(context, shim, record).await?;
        containers::erase::erase(context, &record.id).await
    };
    if let Err(error) = undone.await {
        tracing::warn!(container = %record.id, %error, "half-made container is not undone");
    }
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

fn read_containers(context: &Context) -> Vec<ContainerRecord> {
    let ids = entries(&context.layout.containers()).filter_map(|n| ContainerId::new(n).ok());
    ids.filter_map(|id| match store::read(&context.layout.container_record(&id)) {
        Ok(record) => Some(record),
        Err(RecordError::Missing { .. }) => None,
        Err(error) => {
            tracing::error!(container = %id, %error, "container is not usable; left as it is");
            None
        }
    })
    .collect()
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
