// SPDX-License-Identifier: Apache-2.0
//! StopPodSandbox's and RemovePodSandbox's work on the host, and the undo of a failed
//! RunPodSandbox. Goes on after a failure and tells all that is left.

use std::fmt;

use super::{
    context::Context,
    error::{FaultKind, PodError},
    progress::Stage,
    record::PodRecord,
    shim::PodShim,
    stages::{cgroup, namespaces, network, pod_files, sandbox},
};
use crate::{files, store};

/// Something of the host that could not be put back, with the reason.
#[derive(Debug, Clone)]
pub struct Left(PodError);

impl From<PodError> for Left {
    fn from(error: PodError) -> Self {
        Self(error)
    }
}

impl From<Left> for PodError {
    fn from(left: Left) -> Self {
        left.0
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Gives back all that a sandbox holds of the host. Its containers have been released before.
/// Its record, directory and log directory stay until it is erased.
pub async fn teardown(context: &Context, pod: &PodRecord, shim: Option<&PodShim>) -> Vec<Left> {
    // CNI DEL is the slowest part; the shim's end and the unmounts run beside it.
    let (network, rest) = tokio::join!(network::undo(context, pod), async {
        let sandbox = sandbox::undo(context, pod, shim).await;
        let files = pod_files::undo(context, pod).await;
        let cgroup = cgroup::undo(context, pod).await;
        [sandbox, files, cgroup]
    });
    // DEL needs the network namespace, also when it is tried again: without it plugins take the
    // pod's interfaces for gone, and leave addresses and firewall rules.
    let namespaces = match &network {
        Ok(()) => namespaces::undo(context, pod).await,
        Err(_) => Ok(()),
    };
    let all = rest.into_iter().chain([network, namespaces]);
    let left: Vec<_> = all.filter_map(|done| done.err().map(Left)).collect();
    for what in &left {
        tracing::warn!(pod = %pod.id, error = %what, "not put back");
    }
    left
}

/// Removes a torn-down sandbox's directory. The record goes first: what is left without one is
/// swept at the next start.
///
/// # Errors
/// [`PodError`] when files could not be removed.
pub async fn erase(context: &Context, pod: &PodRecord) -> Result<(), PodError> {
    let _stage = context.progress.begin(Stage::PodErase, &pod.id);
    let (record, dir) = (context.layout.pod_record(&pod.id), context.layout.pod(&pod.id));
    let removed = tokio::task::spawn_blocking(move || {
        store::remove(&record)?;
        files::remove_tree(&dir)
    });
    removed.await.unwrap_or_else(|bug| Err(std::io::Error::other(bug))).map_err(|e| {
        PodError::step(format!("remove files of pod {}", pod.id), FaultKind::Internal, e)
    })
}
