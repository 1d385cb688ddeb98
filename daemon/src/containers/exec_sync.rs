// SPDX-License-Identifier: Apache-2.0
//! ExecSync: runs a command in a running container and answers with all it wrote.

use std::{sync::Arc, time::Duration};

use ::oci_spec::runtime::Spec;
use crisp_words::{ContainerId, ExecId, bundle};
use tokio::{sync::oneshot, time::timeout};

use super::{oci_spec, spec::Terminal};
use crate::{
    pods::{
        context::Context,
        error::{FaultKind, PodError},
        ids,
        record::Maker,
        shim::{gone_is_fine, runtime_limit},
    },
    shims::{
        Captured, ExecIo, ExecTask, KillScope, ShimClient, ShimError, StdioAddresses, TaskRef,
    },
};

/// What a command did.
#[derive(Debug, Clone)]
pub struct Executed {
    /// What it wrote, each stream cut at 16 MiB.
    pub captured: Captured,
    /// Its exit code, 128 + n for a signal.
    pub code: i32,
}

/// How long a command may run.
#[derive(Debug, Clone, Copy)]
pub enum Patience {
    /// As long as it likes.
    Unlimited,
    /// Then it is killed, with all it started.
    For(Duration),
}

/// Runs `command` in the container `id` (or the one whose id begins so).
///
/// When the caller goes away, the command and what it started are killed.
///
/// # Errors
/// [`PodError::Deadline`] when patience ended; [`PodError::ContainerState`] when the container
/// does not run.
pub async fn exec_sync(
    context: &Arc<Context>,
    id: &str,
    command: Vec<String>,
    patience: Patience,
) -> Result<Executed, PodError> {
    let (id, door) = context.index.container(id)?;
    let view = door.view.borrow().clone();
    if view.container(&id).is_none_or(|record| record.running().is_none()) {
        let state = "not running";
        return Err(PodError::ContainerState {
            id,
            state,
            wanted: "commands run in a running one",
        });
    }
    let Some(shim) = door.shim.clone() else {
        let state = "without its shim";
        return Err(PodError::ContainerState { id, state, wanted: "commands are run by the shim" });
    };
    if command.is_empty() {
        return Err(PodError::Invalid(format!("exec in container {id}: no command")));
    }
    let (stay, left) = oneshot::channel::<()>();
    let client = shim.of(&id).map_err(|e| PodError::shim(format!("exec in container {id}"), e))?;
    let maker = shim.record.maker;
    let exec = Exec { context: context.clone(), client, maker, id, exec: ids::exec() };
    let work = tokio::spawn(exec.run(command, patience, left));
    let done = work.await;
    drop(stay);
    done.unwrap_or(Err(PodError::ShuttingDown))
}

struct Exec {
    context: Arc<Context>,
    client: ShimClient,
    maker: Maker,
    id: ContainerId,
    exec: ExecId,
}

impl Exec {
    async fn run(
        self,
        command: Vec<String>,
        patience: Patience,
        left: oneshot::Receiver<()>,
    ) -> Result<Executed, PodError> {
        let done = self.run_registered(&command, patience, left).await;
        match self.maker {
            Maker::Crisp => self.delete().await,
            // Others wait in it for children that hold the output open, some for many seconds.
            Maker::Other => drop(tokio::spawn(async move { self.delete().await })),
        }
        done
    }

    /// Every exec needs its own delete, or the shim keeps it.
    async fn delete(&self) {
        let limit = runtime_limit(&self.context.limits);
        let deleted = self.client.delete(self.task(), limit).await.map(drop);
        if let Err(error) = gone_is_fine(deleted) {
            tracing::warn!(container = %self.id, %error, "exec is not deleted");
        }
    }

    fn task(&self) -> TaskRef<'_> {
        TaskRef::exec(&self.id, &self.exec)
    }

    fn failed(&self, error: ShimError) -> PodError {
        PodError::shim(format!("exec in container {}", self.id), error)
    }

    async fn run_registered(
        &self,
        command: &[String],
        patience: Patience,
        left: oneshot::Receiver<()>,
    ) -> Result<Executed, PodError> {
        let directory = self.context.layout.bundle(&self.id);
        let io = ExecIo::create(&directory, self.exec.as_str()).map_err(|e| {
            let step = format!("make pipes of an exec in container {}", self.id);
            PodError::step(step, FaultKind::Internal, e)
        })?;
        let exec = ExecTask {
            task: self.task(),
            stdio: StdioAddresses {
                stdin: String::new(),
                stdout: io.stdout_path().display().to_string(),
                stderr: io.stderr_path().display().to_string(),
                terminal: false,
            },
            process_json: self.process(command)?,
        };
        let limit = runtime_limit(&self.context.limits);
        self.client.exec(exec, limit).await.map_err(|e| self.failed(e))?;
        self.client.start(self.task(), limit).await.map_err(|e| self.failed(e))?;
        let (captured, ended) = io.collect(self.end(patience, left)).await;
        Ok(Executed { captured, code: ended? })
    }

    /// The container's process with another command and no terminal.
    fn process(&self, command: &[String]) -> Result<Vec<u8>, PodError> {
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
            PodError::step(format!("read spec of container {}", self.id), FaultKind::Internal, e)
        };
        let path = self.context.layout.bundle(&self.id).join(bundle::CONFIG);
        let text = std::fs::read(path).map_err(|e| failed(e.into()))?;
        let spec: Spec = serde_json::from_slice(&text).map_err(|e| failed(e.into()))?;
        let container =
            spec.process().as_ref().ok_or_else(|| failed("it has no process".into()))?;
        let process = oci_spec::exec_process(container, command.to_vec(), Terminal::None);
        serde_json::to_vec(&process).map_err(|e| failed(e.into()))
    }

    /// Waits for the command's end, and brings it about when patience or the caller is gone.
    async fn end(&self, patience: Patience, left: oneshot::Receiver<()>) -> Result<i32, PodError> {
        let ended = async {
            let exit = self.client.wait(self.task()).await.map_err(|e| self.failed(e))?;
            Ok(i32::try_from(exit.status).unwrap_or(255))
        };
        tokio::pin!(ended);
        let bounded = async {
            match patience {
                Patience::Unlimited => Ok(ended.as_mut().await),
                Patience::For(limit) => timeout(limit, ended.as_mut()).await.map_err(|_| limit),
            }
        };
        let error = tokio::select! {
            done = bounded => match done {
                Ok(code) => return code,
                Err(limit) => {
                    PodError::Deadline { step: format!("command in container {}", self.id), limit }
                }
            },
            _ = left => PodError::ShuttingDown,
        };
        let limit = self.context.limits.shim_call;
        let killed = self.client.kill(self.task(), KILL, KillScope::Container, limit).await;
        if let Err(cause) = gone_is_fine(killed) {
            tracing::warn!(container = %self.id, error = %cause, "exec is not killed");
        }
        // Its end is told soon after the kill; its delete would be refused before.
        let _ = timeout(self.context.limits.kill, ended).await;
        Err(error)
    }
}

const KILL: u32 = libc::SIGKILL.unsigned_abs();
