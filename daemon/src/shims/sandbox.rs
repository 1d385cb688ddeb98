// SPDX-License-Identifier: Apache-2.0
//! The Sandbox service, as the daemon calls it.

use std::{collections::HashMap, path::Path, time::Duration};

use containerd_shim_protos::sandbox_api::{
    CreateSandboxRequest, CreateSandboxResponse, PingRequest, PingResponse, SandboxStatusRequest,
    SandboxStatusResponse, ShutdownSandboxRequest, ShutdownSandboxResponse, StartSandboxRequest,
    StartSandboxResponse, StopSandboxRequest, StopSandboxResponse, WaitSandboxRequest,
    WaitSandboxResponse,
};
use crisp_words::SandboxId;

use super::{Options, ShimClient, ShimError, TaskExit, client::Service, task::nanoseconds};

/// Full name of the service.
pub(super) const SERVICE: &str = "containerd.runtime.sandbox.v1.Sandbox";

/// What `CreateSandbox` takes.
#[derive(Debug, Clone)]
pub struct CreateSandbox<'a> {
    /// Which sandbox.
    pub id: &'a SandboxId,
    /// Its bundle.
    pub bundle: &'a Path,
    /// Path of its network namespace; empty: the host's.
    pub netns: &'a str,
    /// The shim's options.
    pub options: Option<Options>,
    /// The pod's annotations.
    pub annotations: HashMap<String, String>,
}

/// Where a sandbox is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxState {
    /// Its containers can run.
    Ready,
    /// It was not started, or has stopped.
    NotReady,
    /// The shim does not say.
    Unknown,
}

/// What `SandboxStatus` answers.
#[derive(Debug, Clone)]
pub struct SandboxStatus {
    /// Where it is in its life.
    pub state: SandboxState,
    /// Pid of the process that holds it; 0: none.
    pub pid: u32,
    /// Further facts, if asked for.
    pub info: HashMap<String, String>,
    /// When it was created, in nanoseconds since the Unix epoch.
    pub created_at_ns: Option<i64>,
    /// When it ended.
    pub exited_at_ns: Option<i64>,
}

impl ShimClient {
    /// Makes a sandbox. Shims without the service answer [`ShimError::Unimplemented`].
    ///
    /// # Errors
    /// Any [`ShimError`].
    pub async fn create_sandbox(
        &self,
        create: CreateSandbox<'_>,
        deadline: Duration,
    ) -> Result<(), ShimError> {
        let request = CreateSandboxRequest {
            sandbox_id: create.id.to_string(),
            bundle_path: create.bundle.display().to_string(),
            netns_path: create.netns.to_owned(),
            options: create.options.map(|o| o.to_any()).into(),
            annotations: create.annotations,
            ..Default::default()
        };
        self.sandbox::<_, CreateSandboxResponse>("CreateSandbox", &request, deadline)
            .await
            .map(drop)
    }

    /// Starts a sandbox. Answers with the pid of the process that holds it; 0: none.
    ///
    /// # Errors
    /// Any [`ShimError`].
    pub async fn start_sandbox(
        &self,
        id: &SandboxId,
        deadline: Duration,
    ) -> Result<u32, ShimError> {
        let request = StartSandboxRequest { sandbox_id: id.to_string(), ..Default::default() };
        let answer: StartSandboxResponse = self.sandbox("StartSandbox", &request, deadline).await?;
        Ok(answer.pid)
    }

    /// Stops a sandbox; the shim gives it `grace` before it kills.
    ///
    /// # Errors
    /// Any [`ShimError`].
    pub async fn stop_sandbox(
        &self,
        id: &SandboxId,
        grace: Duration,
        deadline: Duration,
    ) -> Result<(), ShimError> {
        let request = StopSandboxRequest {
            sandbox_id: id.to_string(),
            timeout_secs: u32::try_from(grace.as_secs()).unwrap_or(u32::MAX),
            ..Default::default()
        };
        self.sandbox::<_, StopSandboxResponse>("StopSandbox", &request, deadline).await.map(drop)
    }

    /// Waits until a sandbox ends, as long as the shim lives.
    ///
    /// # Errors
    /// Any [`ShimError`].
    pub async fn wait_sandbox(&self, id: &SandboxId) -> Result<TaskExit, ShimError> {
        let request = WaitSandboxRequest { sandbox_id: id.to_string(), ..Default::default() };
        let answer: WaitSandboxResponse =
            self.wait_for(Service::Sandbox, "WaitSandbox", &request).await?;
        let exited_at_ns = nanoseconds(answer.exited_at.as_ref());
        Ok(TaskExit { pid: 0, status: answer.exit_status, exited_at_ns })
    }

    /// Where a sandbox is in its life.
    ///
    /// # Errors
    /// Any [`ShimError`].
    pub async fn sandbox_status(
        &self,
        id: &SandboxId,
        deadline: Duration,
    ) -> Result<SandboxStatus, ShimError> {
        let request = SandboxStatusRequest {
            sandbox_id: id.to_string(),
            verbose: true,
            ..Default::default()
        };
        let answer: SandboxStatusResponse =
            self.sandbox("SandboxStatus", &request, deadline).await?;
        let state = match answer.state.as_str() {
            "SANDBOX_READY" => SandboxState::Ready,
            "SANDBOX_NOTREADY" => SandboxState::NotReady,
            _ => SandboxState::Unknown,
        };
        Ok(SandboxStatus {
            state,
            pid: answer.pid,
            created_at_ns: nanoseconds(answer.created_at.as_ref()),
            exited_at_ns: nanoseconds(answer.exited_at.as_ref()),
            info: answer.info,
        })
    }

    /// Asks whether the sandbox is there; also tells whether the shim serves the service.
    ///
    /// # Errors
    /// Any [`ShimError`].
    pub async fn ping_sandbox(&self, id: &SandboxId, deadline: Duration) -> Result<(), ShimError> {
        let request = PingRequest { sandbox_id: id.to_string(), ..Default::default() };
        self.sandbox::<_, PingResponse>("PingSandbox", &request, deadline).await.map(drop)
    }

    /// Ends a sandbox and its shim.
    ///
    /// # Errors
    /// Any [`ShimError`]; a connection that breaks instead of an answer is success.
    pub async fn shutdown_sandbox(
        &self,
        id: &SandboxId,
        deadline: Duration,
    ) -> Result<(), ShimError> {
        let request = ShutdownSandboxRequest { sandbox_id: id.to_string(), ..Default::default() };
        match self
            .sandbox::<_, ShutdownSandboxResponse>("ShutdownSandbox", &request, deadline)
            .await
        {
            Ok(_) | Err(ShimError::Dead { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn sandbox<M: protobuf::Message, A: protobuf::Message>(
        &self,
        method: &str,
        request: &M,
        deadline: Duration,
    ) -> Result<A, ShimError> {
        self.call(SERVICE, method, request, deadline).await
    }
}
