// SPDX-License-Identifier: Apache-2.0
//! containerd's Sandbox service, version 1.

use std::{sync::Arc, time::SystemTime};

use async_trait::async_trait;
use containerd_shim_protos::{
    sandbox_api::{
        CreateSandboxRequest, CreateSandboxResponse, PingRequest, PingResponse, PlatformRequest,
        PlatformResponse, SandboxMetricsRequest, SandboxMetricsResponse, SandboxStatusRequest,
        SandboxStatusResponse, ShutdownSandboxRequest, ShutdownSandboxResponse,
        StartSandboxRequest, StartSandboxResponse, StopSandboxRequest, StopSandboxResponse,
        WaitSandboxRequest, WaitSandboxResponse,
    },
    sandbox_async::Sandbox as SandboxApi,
    types::platform::Platform,
};
use ttrpc::{Code, asynchronous::TtrpcContext, error::get_rpc_status};

use super::timestamp;
use crate::{
    options,
    pod::Pod,
    sandbox::{NewSandbox, Sandbox, SandboxError},
};

pub(super) struct SandboxService {
    pod: Arc<Pod>,
}

impl SandboxService {
    pub(super) fn new(pod: Arc<Pod>) -> Self {
        Self { pod }
    }
}

type Context = TtrpcContext;

#[async_trait]
impl SandboxApi for SandboxService {
    async fn create_sandbox(
        &self,
        _: &Context,
        request: CreateSandboxRequest,
    ) -> ttrpc::Result<CreateSandboxResponse> {
        let options = options::for_sandbox(request.options.as_ref()).map_err(SandboxError::from)?;
        let new = NewSandbox {
            id: request.sandbox_id,
            bundle: request.bundle_path.into(),
            netns: request.netns_path,
            options,
        };
        Sandbox::create(&self.pod, new).await?;
        Ok(CreateSandboxResponse::new())
    }

    async fn start_sandbox(
        &self,
        _: &Context,
        request: StartSandboxRequest,
    ) -> ttrpc::Result<StartSandboxResponse> {
        let sandbox = self.pod.sandbox.get(&request.sandbox_id)?;
        Ok(StartSandboxResponse {
            pid: sandbox.pid(),
            created_at: Some(timestamp(sandbox.created_at)).into(),
            ..StartSandboxResponse::default()
        })
    }

    async fn platform(&self, _: &Context, _: PlatformRequest) -> ttrpc::Result<PlatformResponse> {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let platform = Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            ..Platform::default()
        };
        Ok(PlatformResponse { platform: Some(platform).into(), ..PlatformResponse::default() })
    }

    async fn stop_sandbox(
        &self,
        _: &Context,
        request: StopSandboxRequest,
    ) -> ttrpc::Result<StopSandboxResponse> {
        self.pod.sandbox.get(&request.sandbox_id)?.stop().await?;
        Ok(StopSandboxResponse::new())
    }

    async fn wait_sandbox(
        &self,
        _: &Context,
        request: WaitSandboxRequest,
    ) -> ttrpc::Result<WaitSandboxResponse> {
        let exit = self.pod.sandbox.get(&request.sandbox_id)?.ended().await;
        let gone = || get_rpc_status(Code::NOT_FOUND, "the sandbox is gone");
        let exit = exit.ok_or_else(gone)?;
        Ok(WaitSandboxResponse {
            exit_status: exit.status,
            exited_at: Some(timestamp(exit.at)).into(),
            ..WaitSandboxResponse::default()
        })
    }

    async fn sandbox_status(
        &self,
        _: &Context,
        request: SandboxStatusRequest,
    ) -> ttrpc::Result<SandboxStatusResponse> {
        let sandbox = self.pod.sandbox.get(&request.sandbox_id)?;
        let end = *sandbox.end.borrow();
        let state = if end.is_none() { "SANDBOX_READY" } else { "SANDBOX_NOTREADY" };
        Ok(SandboxStatusResponse {
            sandbox_id: request.sandbox_id,
            pid: sandbox.pid(),
            state: state.to_owned(),
            created_at: Some(timestamp(sandbox.created_at)).into(),
            exited_at: end.map(|exit| timestamp(exit.at)).into(),
            ..SandboxStatusResponse::default()
        })
    }

    async fn ping_sandbox(&self, _: &Context, request: PingRequest) -> ttrpc::Result<PingResponse> {
        self.pod.sandbox.get(&request.sandbox_id)?;
        Ok(PingResponse::new())
    }

    async fn shutdown_sandbox(
        &self,
        _: &Context,
        request: ShutdownSandboxRequest,
    ) -> ttrpc::Result<ShutdownSandboxResponse> {
        match self.pod.sandbox.get(&request.sandbox_id) {
            Ok(sandbox) => sandbox.stop().await?,
            // Gone already, or never made: there is still a server to be rid of.
            Err(_) if !self.pod.sandbox.is_up() => {}
            Err(error) => return Err(error.into()),
        }
        self.pod.leave.notify_one();
        Ok(ShutdownSandboxResponse::new())
    }

    async fn sandbox_metrics(
        &self,
        _: &Context,
        request: SandboxMetricsRequest,
    ) -> ttrpc::Result<SandboxMetricsResponse> {
        let data = self.pod.sandbox.get(&request.sandbox_id)?.metrics()?;
        let mut response = SandboxMetricsResponse::new();
        let metric = response.metrics.mut_or_insert_default();
        metric.timestamp = Some(timestamp(SystemTime::now())).into();
        metric.id = request.sandbox_id;
        metric.data = data.into();
        Ok(response)
    }
}
