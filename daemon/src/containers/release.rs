// SPDX-License-Identifier: Apache-2.0
//! Gives back what an ended container holds of the host: its task in the shim, its cgroup and its
//! mounts. Every step is fine with having been done before; all are tried, the first failure is
//! told.

use super::{
    record::{ContainerRecord, Phase},
    volumes,
};
use crate::{
    pods::{
        context::Context,
        error::{FaultKind, PodError},
        members,
        progress::Stage,
        record::Maker,
        shim::{PodShim, gone_is_fine, runtime_limit},
        stages::sandbox_container,
    },
    shims::{ShimClient, ShimError, TaskRef},
};

/// Gives back all but the writable layer and the record.
///
/// # Errors
/// The first [`PodError`] of a step; the others were tried.
pub async fn release(
    context: &Context,
    shim: Option<&PodShim>,
    record: &ContainerRecord,
) -> Result<(), PodError> {
    let id = &record.id;
    let _stage = context.progress.begin(Stage::Release, id);
    let task = delete_task(context, shim, record).await;
    let rootfs = context
        .rootfs
        .unmount(context.layout.bundle(id).join(crisp_words::bundle::ROOTFS))
        .await
        .map_err(|e| PodError::step(format!("unmount rootfs of {id}"), FaultKind::Internal, e));
    let volumes = volumes::unmount(context, id).await;
    if let Some(helper) = shim.and_then(|shim| shim.helper.as_ref())
        && let Err(error) = helper.close(id, context.limits.shim_call).await
    {
        tracing::warn!(container = %id, %error, "its streams are still served");
    }
    task.and(rootfs).and(volumes)
}

async fn delete_task(
    context: &Context,
    shim: Option<&PodShim>,
    record: &ContainerRecord,
) -> Result<(), PodError> {
    let id = &record.id;
    let client = shim.and_then(|shim| shim.of(id).ok()).filter(|client| !client.is_closed());
    let (Some(shim), Some(client)) = (shim, client) else {
        if let Some(shim) = shim {
            members::leave(context, shim, id).await;
        }
        return delete_without_shim(context, shim, record).await;
    };
    let deleted = match shim.record.maker {
        Maker::Crisp => {
            let limit = runtime_limit(&context.limits);
            match client.delete(TaskRef::container(id), limit).await.map(drop) {
                // It runs, whatever the record says: nothing of it may outlive its removal.
                Err(error) if error.is_precondition() => {
                    tracing::warn!(container = %id, %error, "ending it first");
                    sandbox_container::end_task(context, &client, TaskRef::container(id)).await
                }
                other => other,
            }
        }
        Maker::Other => delete_elsewhere(context, &client, record).await,
    };
    let lost = deleted.as_ref().is_err_and(ShimError::is_dead);
    if lost || gone_is_fine(deleted.clone()).is_ok() {
        members::leave(context, shim, id).await;
    }
    if lost {
        return delete_without_shim(context, Some(shim), record).await;
    }
    if shim.record.maker == Maker::Other && record.phase == Phase::Creating && deleted.is_ok() {
        // One whose caller died amid a create ends its OCI runtime, forgets the container and
        // leaves what the runtime had made.
        return delete_without_shim(context, Some(shim), record).await;
    }
    gone_is_fine(deleted).map_err(|e| PodError::shim(format!("delete container {id}"), e))
}

/// Shims of others delete only what has ended.
async fn delete_elsewhere(
    context: &Context,
    client: &ShimClient,
    record: &ContainerRecord,
) -> Result<(), ShimError> {
    let task = TaskRef::container(&record.id);
    match record.phase {
        Phase::Exited(_) => sandbox_container::delete_task(context, client, task).await,
        _ => sandbox_container::end_task(context, client, task).await,
    }
}

/// What the shim would have done, by its own `delete` verb and by the cgroup.
async fn delete_without_shim(
    context: &Context,
    shim: Option<&PodShim>,
    record: &ContainerRecord,
) -> Result<(), PodError> {
    let id = &record.id;
    if let Some(made) = &record.made
        && let Err(error) = context.cgroups.kill(&made.cgroup).await
    {
        tracing::warn!(container = %id, %error, "cannot kill by cgroup");
    }
    let bundle = context.layout.bundle(id);
    if !bundle.exists() {
        return Ok(());
    }
    let binary =
        shim.map_or_else(|| context.shim_of(&record.pod), |shim| shim.record.binary.clone());
    let launch = context.launch(&binary, id.as_str(), &bundle);
    let deleted = context.launcher.delete(&launch, context.limits.runtime).await.map(drop);
    match (deleted, shim.map(|shim| shim.record.maker)) {
        // All that ran has been ended; what the shim keeps elsewhere is its own.
        (Err(error), Some(Maker::Other)) => {
            tracing::warn!(container = %id, %error, "shim does not delete its container");
            Ok(())
        }
        (deleted, _) => deleted
            .map_err(|e| PodError::shim(format!("delete container {id} without its shim"), e)),
    }
}
