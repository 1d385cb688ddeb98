// SPDX-License-Identifier: Apache-2.0
//! Removes what is left of a released container: its writable layer, its bundle, its record. The
//! record goes last, so that whatever interrupts this is taken up again.

use crisp_words::ContainerId;

use crate::{
    files,
    pods::{
        context::Context,
        error::{FaultKind, PodError},
        progress::Stage,
    },
    store,
};

/// Removes a released container.
///
/// # Errors
/// [`PodError`] when files could not be removed; the record is then kept.
pub async fn erase(context: &Context, id: &ContainerId) -> Result<(), PodError> {
    let _stage = context.progress.begin(Stage::Erase, id);
    let failed = |what: &str, error: Box<dyn std::error::Error + Send + Sync>| {
        PodError::step(format!("remove {what} of container {id}"), FaultKind::Internal, error)
    };
    context.rootfs.remove(id).await.map_err(|e| failed("writable layer", e.into()))?;
    let (bundle, dir) = (context.layout.bundle(id), context.layout.container(id));
    let record = context.layout.container_record(id);
    let removed = tokio::task::spawn_blocking(move || {
        files::remove_tree(&bundle)?;
        store::remove(&record)?;
        files::remove_tree(&dir)
    });
    match removed.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(failed("files", error.into())),
        Err(bug) => Err(failed("files", bug.into())),
    }
}
