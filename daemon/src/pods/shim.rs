// SPDX-License-Identifier: Apache-2.0
//! A pod's shim, as the pod's task and its work see it.

use std::{path::PathBuf, time::Duration};

use crisp_words::SandboxId;

use super::{
    context::Context,
    error::{FaultKind, PodError},
    limits::Limits,
    record::ShimRecord,
};
use crate::shims::{IoHelper, PodIo, ShimClient, ShimError, ShimTarget, TaskApi, TaskRef};

/// A connected shim.
#[derive(Clone)]
pub struct PodShim {
    /// The client.
    pub client: ShimClient,
    /// Where and what it is.
    pub record: ShimRecord,
    /// The process that serves the pod's streams, beside a shim that does not do so itself.
    pub helper: Option<IoHelper>,
}

impl PodShim {
    /// Connects to the shim a record names.
    ///
    /// # Errors
    /// [`ShimError`].
    pub async fn connect(
        record: ShimRecord,
        namespace: &str,
        limit: Duration,
    ) -> Result<Self, ShimError> {
        let target = ShimTarget {
            address: record.address.clone(),
            namespace: namespace.to_owned(),
            task_api: if record.task_api >= 3 { TaskApi::V3 } else { TaskApi::V2 },
        };
        Ok(Self { client: ShimClient::connect(target, limit).await?, record, helper: None })
    }

    /// The way to the logs and attachments of the pod's containers.
    #[must_use]
    pub fn io(&self) -> PodIo {
        match &self.helper {
            Some(helper) => PodIo::Helper(helper.clone()),
            None => PodIo::Shim(self.client.clone()),
        }
    }

    /// Resolves when the shim has gone.
    pub async fn gone(&self) {
        self.client.closed().await;
    }
}

impl PodError {
    /// A step at a shim failed.
    pub fn shim(step: impl Into<String>, error: ShimError) -> Self {
        let kind = match &error {
            ShimError::NotFound { .. } => FaultKind::NotFound,
            ShimError::Dead { .. } => FaultKind::Unavailable,
            refused if refused.is_invalid() => FaultKind::Invalid,
            refused if refused.is_late() => FaultKind::Deadline,
            ShimError::Deadline { after, .. } => {
                let limit = *after;
                return Self::Deadline { step: format!("{}: {error}", step.into()), limit };
            }
            _ => FaultKind::Internal,
        };
        Self::step(step, kind, error)
    }
}

/// Asks a shim for a sign of life; kills it if none comes.
pub async fn end_if_hung(context: &Context, pod: &SandboxId, shim: &PodShim) {
    let limit = context.limits.shim_call;
    let asked = shim.client.connected(TaskRef::sandbox(pod), limit).await;
    if let Err(error @ ShimError::Deadline { .. }) = asked {
        tracing::warn!(%pod, %error, "shim hangs; ending it");
        context.kill_shim(&shim.record).await;
    }
}

/// Turns "no such thing" into success: it is as gone as it should be.
///
/// # Errors
/// Any other error.
pub fn gone_is_fine(result: Result<(), ShimError>) -> Result<(), ShimError> {
    match result {
        Err(ShimError::NotFound { .. }) => Ok(()),
        other => other,
    }
}

/// Where the shim binary is looked for when the configuration names none: beside the daemon, then
/// in the usual directories.
#[must_use]
pub fn find_binary(name: &str) -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(name)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/libexec/crisp", "/usr/local/bin", "/usr/bin"].map(PathBuf::from);
    beside
        .into_iter()
        .chain(std::env::split_paths(&path).map(|dir| dir.join(name)))
        .chain(usual.into_iter().map(|dir| dir.join(name)))
        .find(|candidate| candidate.is_file())
}

/// The limit of a call that may have to wait for a whole runtime invocation.
#[must_use]
pub fn runtime_limit(limits: &Limits) -> Duration {
    limits.runtime + limits.shim_call
}

/// The shim of a sandbox whose record does not name it yet: the daemon died in between.
#[must_use]
pub fn from_bundle(bundle: &std::path::Path, binary: &std::path::Path) -> Option<ShimRecord> {
    let answer = crate::shims::BootstrapResult::load(bundle).ok()?;
    Some(ShimRecord {
        address: answer.address,
        task_api: if answer.task_api == TaskApi::V3 { 3 } else { 2 },
        pid: 0,
        binary: binary.to_owned(),
    })
}
