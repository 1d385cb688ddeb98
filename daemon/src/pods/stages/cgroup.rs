// SPDX-License-Identifier: Apache-2.0
//! Stage: the pod's cgroup, when the client named none.

use crate::pods::{
    context::Context,
    error::{FaultKind, PodError},
    progress::Stage,
    record::{CgroupOwner, PodRecord},
};

/// Makes the pod's cgroup if it is crisp's.
///
/// # Errors
/// [`PodError`] naming the pod.
pub async fn set_up(context: &Context, pod: &PodRecord) -> Result<(), PodError> {
    if pod.cgroup.owner == CgroupOwner::Client {
        return Ok(());
    }
    let _stage = context.progress.begin(Stage::Cgroup, &pod.id);
    let (cgroups, path) = (context.cgroups.clone(), own_path(context, pod));
    run(pod, "make", move || cgroups.create(&path)).await
}

/// Removes what is crisp's: the pod's cgroup, or in the client's the shim's.
///
/// # Errors
/// [`PodError`] naming the pod.
pub async fn undo(context: &Context, pod: &PodRecord) -> Result<(), PodError> {
    let path = match pod.cgroup.owner {
        CgroupOwner::Crisp => own_path(context, pod),
        CgroupOwner::Client => context.shim_cgroup(pod),
    };
    let mine = path.rsplit('/').next().is_some_and(|last| last.contains(pod.id.as_str()));
    if !mine {
        return Ok(());
    }
    let _stage = context.progress.begin(Stage::CgroupUndo, &pod.id);
    if let Err(error) = context.cgroups.kill(&path).await {
        let step = format!("empty cgroup of pod {}", pod.id);
        return Err(PodError::step(step, FaultKind::Internal, error));
    }
    let cgroups = context.cgroups.clone();
    run(pod, "remove", move || cgroups.remove(&path)).await
}

fn own_path(context: &Context, pod: &PodRecord) -> String {
    context.cgroups.parent_path(&pod.cgroup.path)
}

async fn run(
    pod: &PodRecord,
    verb: &str,
    work: impl FnOnce() -> Result<(), crate::cgroups::CgroupError> + Send + 'static,
) -> Result<(), PodError> {
    let step = format!("{verb} cgroup of pod {}", pod.id);
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(PodError::step(step, FaultKind::Internal, error)),
        Err(bug) => Err(PodError::step(step, FaultKind::Internal, bug)),
    }
}
