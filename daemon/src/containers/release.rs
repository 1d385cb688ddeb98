// SPDX-License-Identifier: Apache-2.0
//! Gives back what an ended container holds of the host: its task in the shim, its cgroup and its
//! mounts. Every step is fine with having been done before; all are tried, the first failure is
//! told.

use super::{record::ContainerRecord, volumes};
use crate::{
    pods::{
        context::Context,
        error::{FaultKind, PodError},
        shim::{PodShim, gone_is_fine, runtime_limit},
    },
    shims::{ShimError, TaskRef},
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
    let task = delete_task(context, shim, record).await;
    let rootfs = context
        .rootfs
        .unmount(context.layout.bundle(id).join(crisp_words::bundle::ROOTFS))
        .await
        .map_err(|e| PodError::step(format!("unmount rootfs of {id}"), FaultKind::Internal, e));
    let volumes = volumes::unmount(context, id).await;
    task.and(rootfs).and(volumes)
}

async fn delete_task(
    context: &Context,
    shim: Option<&PodShim>,
    record: &ContainerRecord,
) -> Result<(), PodError> {
    let id = &record.id;
    let Some(shim) = shim.filter(|shim| !shim.client.is_closed()) else {
        return delete_without_shim(context, record).await;
    };
    let limit = runtime_limit(&context.limits);
    let deleted = shim.client.delete(TaskRef::container(id), limit).await.map(drop);
    if deleted.as_ref().is_err_and(ShimError::is_dead) {
        return delete_without_shim(context, record).await;
    }
    gone_is_fine(deleted).map_err(|e| PodError::shim(format!("delete container {id}"), e))
}

/// What the shim would have done, by its own `delete` verb and by the cgroup.
async fn delete_without_shim(context: &Context, record: &ContainerRecord) -> Result<(), PodError> {
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
    let handler = context.handler_of(&record.pod);
    let launch = context.launch(&handler, id.as_str(), &bundle);
    context
        .launcher
        .delete(&launch, context.limits.runtime)
        .await
        .map(drop)
        .map_err(|e| PodError::shim(format!("delete container {id} without its shim"), e))
}
