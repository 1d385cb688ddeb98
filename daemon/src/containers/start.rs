// SPDX-License-Identifier: Apache-2.0
//! StartContainer.

use std::time::Duration;

use tokio::time::{Instant, sleep};

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
    shims::{ShimClient, ShimError, TaskRef, TaskStatus},
};

/// Pause before a start that is under way is looked at again.
const AGAIN: Duration = Duration::from_millis(50);

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
    let failed = |error| PodError::shim(format!("start container {id}"), error);
    let client = shim.of(id).map_err(failed)?;
    let pid = start_task(context, &client, TaskRef::container(id)).await.map_err(failed)?;
    Ok(Run { started_at_ns: clock::now_ns(), pid })
}

/// Starts a task, or finds it started: a daemon before this one may have asked for it, and have
/// been killed before it heard the answer. The shim refuses a second start then.
async fn start_task(
    context: &Context,
    client: &ShimClient,
    task: TaskRef<'_>,
) -> Result<u32, ShimError> {
    let limit = runtime_limit(&context.limits);
    let until = Instant::now() + limit;
    loop {
        let refused = match client.start(task, limit).await {
            Err(error) if error.is_precondition() => error,
            other => return other,
        };
        let state = client.state(task, context.limits.shim_call).await?;
        match state.status {
            TaskStatus::Created if Instant::now() < until => sleep(AGAIN).await,
            TaskStatus::Running | TaskStatus::Stopped if state.pid > 0 => return Ok(state.pid),
            _ => return Err(refused),
        }
    }
}
