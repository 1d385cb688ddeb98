// SPDX-License-Identifier: Apache-2.0
//! StartContainer.

use crisp_words::ContainerId;

use super::record::Run;
use crate::{
    pods::{
        clock,
        context::Context,
        error::PodError,
        shim::{PodShim, runtime_limit},
    },
    shims::TaskRef,
};

/// Starts a created container's process.
///
/// # Errors
/// [`PodError`] when the OCI runtime could not start it.
pub async fn start(context: &Context, shim: &PodShim, id: &ContainerId) -> Result<Run, PodError> {
    let limit = runtime_limit(&context.limits);
    let pid = shim
        .client
        .start(TaskRef::container(id), limit)
        .await
        .map_err(|error| PodError::shim(format!("start container {id}"), error))?;
    Ok(Run { started_at_ns: clock::now_ns(), pid })
}
