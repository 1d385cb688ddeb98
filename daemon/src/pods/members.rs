// SPDX-License-Identifier: Apache-2.0
//! Shims of single containers. A shim's `start` is run for every container; one that groups
//! answers with the address of the pod's, and most do. gVisor's starts a shim for each container
//! instead: those are kept here, by container.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crisp_words::ContainerId;
use tokio::time::timeout;

use super::{
    context::Context,
    error::PodError,
    handler::Handler,
    record::ShimRecord,
    shim::{self, PodShim, gone_is_fine},
    stages::sandbox::remove_socket,
};
use crate::shims::{LogPipe, ShimClient, ShimError, TaskRef};

/// The shims of a pod's containers that have one of their own. Clones share them.
#[derive(Clone, Default)]
pub struct Members(Arc<Mutex<HashMap<ContainerId, Member>>>);

struct Member {
    /// `None` for one that did not answer after a restart.
    client: Option<ShimClient>,
    record: ShimRecord,
    _log: LogPipe,
}

impl Members {
    /// The client of a container's own shim, if it has one.
    pub fn client(&self, id: &ContainerId) -> Option<Result<ShimClient, ShimError>> {
        let members = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let member = members.get(id)?;
        Some(member.client.clone().ok_or_else(|| ShimError::Dead {
            shim: member.record.address.clone(),
            call: "connect".into(),
            text: "it did not answer when the daemon came back".into(),
        }))
    }

    /// The record of a container's own shim, if it has one.
    #[must_use]
    pub fn record(&self, id: &ContainerId) -> Option<ShimRecord> {
        let members = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        members.get(id).map(|member| member.record.clone())
    }

    /// All that answered.
    #[must_use]
    pub fn all(&self) -> Vec<(ShimClient, ShimRecord)> {
        let members = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = members.values();
        all.filter_map(|member| Some((member.client.clone()?, member.record.clone()))).collect()
    }

    fn insert(&self, id: &ContainerId, member: Member) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), member);
    }

    fn take(&self, id: &ContainerId) -> Option<Member> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }
}

/// Runs the shim's `start` for a container of the pod. Its bundle is complete.
///
/// # Errors
/// [`PodError`] naming the container.
pub async fn join(
    context: &Context,
    pod: &PodShim,
    handler: &Handler,
    id: &ContainerId,
    cgroup: &str,
) -> Result<(), PodError> {
    let failed = |e| PodError::shim(format!("start shim of container {id}"), e);
    let bundle = context.layout.bundle(id);
    let log = LogPipe::open(&bundle, id.as_str()).map_err(failed)?;
    let mut launch = context.launch(&handler.shim, id.as_str(), &bundle);
    if let Some(variant) = handler.variant() {
        launch.dialect = variant.dialect;
        launch.options = variant.options.as_ref();
    }
    let limit = context.limits.shim_start;
    let answer = context.launcher.start(&launch, limit).await.map_err(failed)?;
    answer.save(&bundle).map_err(failed)?;
    let record = shim::answered(answer, &handler.shim, pod.record.maker);
    if record.address == pod.record.address {
        return Ok(());
    }
    let (client, record) = connect(context, record, id).await.map_err(failed)?;
    // One that cannot be moved works where it is.
    if let Err(error) = context.cgroups.join(cgroup, record.pid) {
        tracing::warn!(container = %id, %error, "shim stays in the daemon's cgroup");
    }
    pod.members.insert(id, Member { client: Some(client), record, _log: log });
    Ok(())
}

/// Finds a container's own shim again after a restart. One that does not answer counts as dead.
pub async fn rejoin(context: &Context, pod: &PodShim, id: &ContainerId) {
    let bundle = context.layout.bundle(id);
    let PodShim { record: of_pod, .. } = pod;
    let Some(record) = shim::from_bundle(&bundle, &of_pod.binary, of_pod.maker) else { return };
    if record.address == pod.record.address {
        return;
    }
    let log = match LogPipe::open(&bundle, id.as_str()) {
        Ok(log) => log,
        Err(error) => return tracing::warn!(container = %id, %error, "log of shim is not read"),
    };
    let member = match connect(context, record.clone(), id).await {
        Ok((client, record)) => Member { client: Some(client), record, _log: log },
        Err(error) => {
            tracing::warn!(container = %id, %error, "shim does not answer");
            Member { client: None, record, _log: log }
        }
    };
    pod.members.insert(id, member);
}

/// Ends a container's own shim, if it has one. Its container is deleted, or dead with it.
pub async fn leave(context: &Context, pod: &PodShim, id: &ContainerId) {
    let Some(member) = pod.members.take(id) else { return };
    end(context, member.client.as_ref(), &member.record, TaskRef::container(id)).await;
}

/// Asks a shim to end and sees to it that it does; its socket goes with it.
pub async fn end(
    context: &Context,
    client: Option<&ShimClient>,
    record: &ShimRecord,
    task: TaskRef<'_>,
) {
    let limit = context.limits.shim_call;
    let ended = match client {
        Some(client) => {
            let asked = gone_is_fine(client.shutdown(task, limit).await);
            asked.is_ok() && timeout(limit, client.closed()).await.is_ok()
        }
        None => false,
    };
    if !ended {
        context.kill_shim(record).await;
    }
    remove_socket(context, record);
}

async fn connect(
    context: &Context,
    mut record: ShimRecord,
    id: &ContainerId,
) -> Result<(ShimClient, ShimRecord), ShimError> {
    let limit = context.limits.shim_call;
    let target = shim::target(&record, context.launcher.namespace());
    let client = ShimClient::connect(target, limit).await?;
    record.pid = client.connected(TaskRef::container(id), limit).await?.shim_pid;
    Ok((client, record))
}
