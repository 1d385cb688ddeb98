// SPDX-License-Identifier: Apache-2.0
//! StartContainer.

use super::record::{ContainerRecord, Run};
use crate::{
    nri,
    pods::{
        clock,
        context::Context,
        error::{FaultKind, PodError},
        progress::Stage,
        record::PodRecord,
        shim::{PodShim, runtime_limit},
    },
    shims::TaskRef,
};

/// Starts a created container's process.
///
/// # Errors
/// [`PodError`] when a plugin does not allow it, or the OCI runtime could not start it.
pub async fn start(
    context: &Context,
    pod: &PodRecord,
    shim: &PodShim,
    record: &ContainerRecord,
) -> Result<Run, PodError> {
    let id = &record.id;
    let _stage = context.progress.begin(Stage::Start, id);
    nri::start_container(context, pod, record).await.map_err(|error| {
        PodError::step(format!("start container {id}"), FaultKind::Denied, error)
    })?;
    let limit = runtime_limit(&context.limits);
    let failed = |error| PodError::shim(format!("start container {id}"), error);
    let client = shim.of(id).map_err(failed)?;
    let pid = client.start(TaskRef::container(id), limit).await.map_err(failed)?;
    Ok(Run { started_at_ns: clock::now_ns(), pid })
}
