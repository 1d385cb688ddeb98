// SPDX-License-Identifier: Apache-2.0
//! A pod's shim, as the pod's task and its work see it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crisp_words::{ContainerId, SandboxId};

use super::{
    context::Context,
    error::{FaultKind, PodError},
    limits::Limits,
    members::Members,
    record::{Maker, ShimRecord},
};
use crate::shims::{
    BootstrapResult, IoHelper, LogPipe, PodIo, ShimClient, ShimError, ShimTarget, TaskApi, TaskRef,
};

/// A pod's connected shim, and those of its containers where the shim starts one for each.
/// Clones share them.
#[derive(Clone)]
pub struct PodShim {
    /// The client of the sandbox's shim.
    pub client: ShimClient,
    /// Where and what it is.
    pub record: ShimRecord,
    /// The process that serves the pod's streams, beside a shim that does not do so itself.
    pub helper: Option<IoHelper>,
    /// Shims of single containers.
    pub members: Members,
    /// Read for as long as somebody knows the shim.
    _log: Option<Arc<LogPipe>>,
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
        let client = ShimClient::connect(target(&record, namespace), limit).await?;
        Ok(Self { client, record, helper: None, members: Members::default(), _log: None })
    }

    /// The way to the logs and attachments of the pod's containers.
    #[must_use]
    pub fn io(&self) -> PodIo {
        match &self.helper {
            Some(helper) => PodIo::Helper(helper.clone()),
            None => PodIo::Shim(self.client.clone()),
        }
    }

    /// The same, with the pipe into which it writes its log.
    #[must_use]
    pub fn with_log(self, log: LogPipe) -> Self {
        Self { _log: Some(Arc::new(log)), ..self }
    }

    /// The client of the shim that has a container: the pod's, or its own.
    ///
    /// # Errors
    /// [`ShimError::Dead`] when the container's own shim is gone.
    pub fn of(&self, id: &ContainerId) -> Result<ShimClient, ShimError> {
        self.members.client(id).unwrap_or_else(|| Ok(self.client.clone()))
    }

    /// The record of the shim that has a container.
    #[must_use]
    pub fn record_of(&self, id: &ContainerId) -> ShimRecord {
        self.members.record(id).unwrap_or_else(|| self.record.clone())
    }

    /// Resolves when the shim has gone, or the sandbox that it holds.
    pub async fn gone(&self, pod: &SandboxId) {
        match self.record.maker {
            Maker::Crisp => self.client.closed().await,
            Maker::Other => tokio::select! {
                () = self.client.closed() => {}
                _ = self.client.wait(TaskRef::sandbox(pod)) => {}
            },
        }
    }
}

/// What is to be connected to.
#[must_use]
pub fn target(record: &ShimRecord, namespace: &str) -> ShimTarget {
    ShimTarget {
        address: record.address.clone(),
        namespace: namespace.to_owned(),
        task_api: if record.task_api >= 3 { TaskApi::V3 } else { TaskApi::V2 },
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

/// Asks a pod's shims for a sign of life; kills those from which none comes.
pub async fn end_if_hung(context: &Context, pod: &SandboxId, shim: &PodShim) {
    let own = ask(context, pod, &shim.client, &shim.record);
    let members = shim.members.all();
    let others = members.iter().map(|(client, record)| ask(context, pod, client, record));
    futures::join!(own, futures::future::join_all(others));
}

async fn ask(context: &Context, pod: &SandboxId, client: &ShimClient, record: &ShimRecord) {
    let asked = client.connected(TaskRef::sandbox(pod), context.limits.shim_call).await;
    if let Err(error @ ShimError::Deadline { .. }) = asked {
        tracing::warn!(%pod, %error, "shim hangs; ending it");
        context.kill_shim(record).await;
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

/// The shim whose `start` answered in a bundle. Its pid is not known from there.
#[must_use]
pub fn from_bundle(bundle: &Path, binary: &Path, maker: Maker) -> Option<ShimRecord> {
    let answer = BootstrapResult::load(bundle).ok()?;
    Some(answered(answer, binary, maker))
}

/// The record of a shim that has just answered to `start`.
#[must_use]
pub fn answered(answer: BootstrapResult, binary: &Path, maker: Maker) -> ShimRecord {
    ShimRecord {
        address: answer.address,
        task_api: if answer.task_api == TaskApi::V3 { 3 } else { 2 },
        pid: 0,
        binary: binary.to_owned(),
        maker,
    }
}
