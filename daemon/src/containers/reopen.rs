// SPDX-License-Identifier: Apache-2.0
//! ReopenContainerLog: the log's path was given to another file; write to a new one from now on.

use crate::pods::{context::Context, error::PodError};

/// Lets the writer of a running container's log open it again. When it answers, both streams
/// write to the new file.
///
/// # Errors
/// [`PodError`]; when the container does not run, no file is made.
pub async fn reopen_log(context: &Context, id: &str) -> Result<(), PodError> {
    let (id, door) = context.index.container(id)?;
    let view = door.view.borrow().clone();
    if view.container(&id).is_none_or(|record| record.running().is_none()) {
        let state = "not running";
        return Err(PodError::ContainerState { id, state, wanted: "only a running one logs" });
    }
    let Some(shim) = door.shim.clone() else {
        let state = "without its shim";
        return Err(PodError::ContainerState { id, state, wanted: "its shim writes the log" });
    };
    shim.io()
        .reopen_log(&id, context.limits.shim_call)
        .await
        .map_err(|e| PodError::shim(format!("reopen log of container {id}"), e))
}
