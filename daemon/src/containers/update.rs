// SPDX-License-Identifier: Apache-2.0
//! UpdateContainerResources: all or nothing, 0 and empty leave a limit as it is.

use std::collections::HashMap;

use super::{record::ContainerRecord, resources};
use crate::{
    pods::{
        context::Context,
        error::{FaultKind, PodError},
        shim::{PodShim, runtime_limit},
        spec::Resources,
    },
    shims::TaskRef,
};

/// Puts the limits of `request` in force and answers with all that are in force then.
///
/// # Errors
/// [`PodError`]; the limits are as before.
pub async fn update(
    context: &Context,
    shim: &PodShim,
    record: &ContainerRecord,
    request: &Resources,
) -> Result<Resources, PodError> {
    let id = &record.id;
    let step = || format!("update container {id}");
    let merged = resources::update(&record.resources, request);
    let linux = resources::to_linux(&merged, &context.host)
        .map_err(|e| PodError::step(step(), FaultKind::Invalid, e))?;
    let json =
        serde_json::to_vec(&linux).map_err(|e| PodError::step(step(), FaultKind::Internal, e))?;
    shim.client
        .update(TaskRef::container(id), json, HashMap::new(), runtime_limit(&context.limits))
        .await
        .map_err(|e| PodError::shim(step(), e))?;
    Ok(merged)
}
