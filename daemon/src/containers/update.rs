// SPDX-License-Identifier: Apache-2.0
//! UpdateContainerResources: all or nothing, 0 and empty leave a limit as it is.

use std::collections::HashMap;

use crisp_nri::LinuxResources;
use serde_json::Value;

use super::{record::ContainerRecord, resources};
use crate::{
    nri,
    pods::{
        context::Context,
        error::{FaultKind, PodError},
        progress::Stage,
        record::PodRecord,
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
    pod: &PodRecord,
    shim: &PodShim,
    record: &ContainerRecord,
    request: &Resources,
) -> Result<Resources, PodError> {
    let step = || format!("update container {}", record.id);
    // What makes no sense is refused before plugins are asked about it.
    resources::to_linux(&resources::update(&record.resources, request), &context.host)
        .map_err(|e| PodError::step(step(), FaultKind::Invalid, e))?;
    let asked = nri::update_container(context, pod, record, request)
        .await
        .map_err(|error| PodError::step(step(), FaultKind::Denied, error))?;
    match asked {
        Some(asked) => {
            let limits = nri::to_request(&asked);
            let wanted = Resources { oom_score_adj: request.oom_score_adj, ..limits };
            put_in_force(context, shim, record, &wanted, &asked).await
        }
        None => put_in_force(context, shim, record, request, &LinuxResources::new()).await,
    }
}

/// Puts the limits in force that an NRI plugin asks for, unasked, and answers with all that are in
/// force then.
///
/// # Errors
/// [`PodError`]; the limits are as before.
pub async fn adjust(
    context: &Context,
    shim: &PodShim,
    record: &ContainerRecord,
    asked: &LinuxResources,
) -> Result<Resources, PodError> {
    put_in_force(context, shim, record, &nri::to_request(asked), asked).await
}

/// `asked` is looked at for what only plugins can ask for.
async fn put_in_force(
    context: &Context,
    shim: &PodShim,
    record: &ContainerRecord,
    request: &Resources,
    asked: &LinuxResources,
) -> Result<Resources, PodError> {
    let id = &record.id;
    let _stage = context.progress.begin(Stage::Update, id);
    let step = || format!("update container {id}");
    let internal = |e: serde_json::Error| PodError::step(step(), FaultKind::Internal, e);
    let merged = resources::update(&record.resources, request);
    let linux = resources::to_linux(&merged, &context.host)
        .map_err(|e| PodError::step(step(), FaultKind::Invalid, e))?;
    let mut linux: Value = serde_json::to_value(&linux).map_err(internal)?;
    nri::add_rest(&mut linux, asked);
    let json = serde_json::to_vec(&linux).map_err(internal)?;
    shim.of(id)
        .map_err(|e| PodError::shim(step(), e))?
        .update(TaskRef::container(id), json, HashMap::new(), runtime_limit(&context.limits))
        .await
        .map_err(|e| PodError::shim(step(), e))?;
    Ok(merged)
}
