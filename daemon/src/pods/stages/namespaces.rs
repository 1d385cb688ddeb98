// SPDX-License-Identifier: Apache-2.0
//! Stage: the network namespace, and the user namespace that owns it, pinned before anything else
//! needs them. The shim pins the others beside them.

use crate::{
    network::netns::{self, Pins, UserPin},
    pods::{
        context::Context,
        error::{FaultKind, PodError},
        progress::Stage,
        record::PodRecord,
        spec::Sharing,
    },
};

/// Makes and pins them. A pod with host networking has none of its own.
///
/// # Errors
/// [`PodError`] naming the pod.
pub async fn set_up(context: &Context, pod: &PodRecord) -> Result<(), PodError> {
    let pins = context.layout.namespaces(&pod.id);
    let wanted = &pod.config.namespaces;
    let user = wanted.user.clone().map(|mapping| UserPin { path: pins.join("user"), mapping });
    if wanted.network == Sharing::Node {
        return Ok(());
    }
    let _stage = context.progress.begin(Stage::Namespaces, &pod.id);
    netns::create(Pins { net: pins.join("net"), user }).await.map_err(|e| {
        PodError::step(format!("make namespaces of pod {}", pod.id), FaultKind::Internal, e)
    })
}

/// Unpins the network namespace and the user namespace.
///
/// # Errors
/// [`PodError`] naming the pod.
pub async fn undo(context: &Context, pod: &PodRecord) -> Result<(), PodError> {
    let _stage = context.progress.begin(Stage::NamespacesUndo, &pod.id);
    unpin(context, pod, &["net", "user"]).await
}

/// Unpins those that the shim pinned, in case it did not come to it.
///
/// # Errors
/// [`PodError`] naming the pod.
pub async fn unpin_all(context: &Context, pod: &PodRecord) -> Result<(), PodError> {
    unpin(context, pod, &["ipc", "uts", "pid"]).await
}

async fn unpin(context: &Context, pod: &PodRecord, names: &[&str]) -> Result<(), PodError> {
    let mut first = Ok(());
    for name in names {
        let pin = context.layout.namespaces(&pod.id).join(name);
        let done = netns::remove(pin).await.map_err(|e| {
            PodError::step(format!("unpin namespace of pod {}", pod.id), FaultKind::Internal, e)
        });
        first = first.and(done);
    }
    first
}
