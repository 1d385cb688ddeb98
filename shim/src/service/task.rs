// SPDX-License-Identifier: Apache-2.0
//! containerd's Task service, versions 2 and 3 alike.

use std::sync::Arc;

use async_trait::async_trait;
use containerd_shim_protos::{
    api::{
        CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest,
        CreateTaskResponse, DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest,
        PauseRequest, PidsRequest, PidsResponse, ProcessInfo, ResizePtyRequest, ResumeRequest,
        ShutdownRequest, StartRequest, StartResponse, StateRequest, StateResponse, StatsRequest,
        StatsResponse, Status, UpdateTaskRequest, WaitRequest, WaitResponse,
    },
    shim::oci::ProcessDetails,
    shim_async::Task,
};
use protobuf::{EnumOrUnknown, Message, MessageField, well_known_types::any::Any};
use ttrpc::{Code, asynchronous::TtrpcContext, error::get_rpc_status};

use super::timestamp;
use crate::{
    container::{ContainerError, NewContainer, NewExec, Reach, Target},
    options,
    pod::Pod,
    process::{Phase, StdioText},
};

pub(super) struct TaskService {
    pod: Arc<Pod>,
}

impl TaskService {
    pub(super) fn new(pod: Arc<Pod>) -> Self {
        Self { pod }
    }

    fn target(&self, id: &str, exec_id: &str) -> Result<Target, ContainerError> {
        self.pod.container(id)?.target(exec_id)
    }
}

type Context = TtrpcContext;

#[async_trait]
impl Task for TaskService {
    async fn create(
        &self,
        _: &Context,
        request: CreateTaskRequest,
    ) -> ttrpc::Result<CreateTaskResponse> {
        if !request.checkpoint.is_empty() {
            return Err(ContainerError::Unsupported("creating from a checkpoint").into());
        }
        let options = options::for_container(request.options.as_ref(), &self.pod.namespace);
        let stdio = StdioText {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        let new = NewContainer {
            id: request.id,
            bundle: request.bundle,
            rootfs: request.rootfs,
            stdio,
            options: options.map_err(ContainerError::from)?,
        };
        let pid = new.create(&self.pod).await?;
        Ok(CreateTaskResponse { pid, ..CreateTaskResponse::default() })
    }

    async fn start(&self, _: &Context, request: StartRequest) -> ttrpc::Result<StartResponse> {
        let pid = match self.target(&request.id, &request.exec_id)? {
            Target::Init(container) => container.start(&self.pod).await?,
            Target::Exec(container, exec) => {
                container.start_exec(&self.pod, &request.exec_id, &exec).await?
            }
        };
        Ok(StartResponse { pid, ..StartResponse::default() })
    }

    async fn exec(&self, _: &Context, request: ExecProcessRequest) -> ttrpc::Result<Empty> {
        let container = self.pod.container(&request.id)?;
        let stdio = StdioText {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        let spec = request.spec.into_option().unwrap_or_default().value;
        let new = NewExec { exec_id: request.exec_id, stdio, spec };
        container.add_exec(&self.pod, new)?;
        Ok(Empty::new())
    }

    async fn wait(&self, _: &Context, request: WaitRequest) -> ttrpc::Result<WaitResponse> {
        let target = self.target(&request.id, &request.exec_id)?;
        let exit = target.process().stopped().await;
        let gone = || get_rpc_status(Code::NOT_FOUND, format!("{} is gone", target.thing()));
        let exit = exit.ok_or_else(gone)?;
        Ok(WaitResponse {
            exit_status: exit.status,
            exited_at: Some(timestamp(exit.at)).into(),
            ..WaitResponse::default()
        })
    }

    async fn state(&self, _: &Context, request: StateRequest) -> ttrpc::Result<StateResponse> {
        let container = self.pod.container(&request.id)?;
        let bundle = container.bundle.to_string_lossy().into_owned();
        let target = container.target(&request.exec_id)?;
        let process = target.process();
        let phase = process.phase();
        let mut response = StateResponse {
            id: request.id,
            exec_id: request.exec_id,
            bundle,
            pid: process.pid(),
            status: EnumOrUnknown::new(status(phase)),
            stdin: process.stdio.stdin.clone(),
            stdout: process.stdio.stdout.clone(),
            stderr: process.stdio.stderr.clone(),
            terminal: process.stdio.terminal,
            ..StateResponse::default()
        };
        if let Phase::Stopped(exit) = phase {
            response.exit_status = exit.status;
            response.exited_at = Some(timestamp(exit.at)).into();
        }
        Ok(response)
    }

    async fn kill(&self, _: &Context, request: KillRequest) -> ttrpc::Result<Empty> {
        let target = self.target(&request.id, &request.exec_id)?;
        let reach = if request.all { Reach::Container } else { Reach::Process };
        target.kill(&self.pod, request.signal, reach).await?;
        Ok(Empty::new())
    }

    async fn delete(&self, _: &Context, request: DeleteRequest) -> ttrpc::Result<DeleteResponse> {
        let (pid, exit) = match self.target(&request.id, &request.exec_id)? {
            Target::Init(container) => container.delete(&self.pod).await?,
            Target::Exec(container, exec) => {
                container.delete_exec(&self.pod, &request.exec_id, &exec).await?
            }
        };
        Ok(DeleteResponse {
            pid,
            exit_status: exit.status,
            exited_at: Some(timestamp(exit.at)).into(),
            ..DeleteResponse::default()
        })
    }

    async fn pids(&self, _: &Context, request: PidsRequest) -> ttrpc::Result<PidsResponse> {
        let container = self.pod.container(&request.id)?;
        let processes = container.pids().into_iter().map(|(pid, exec_id)| ProcessInfo {
            pid,
            info: exec_id.map(details).into(),
            ..ProcessInfo::default()
        });
        Ok(PidsResponse { processes: processes.collect(), ..PidsResponse::default() })
    }

    async fn pause(&self, _: &Context, request: PauseRequest) -> ttrpc::Result<Empty> {
        self.pod.container(&request.id)?.pause(&self.pod).await?;
        Ok(Empty::new())
    }

    async fn resume(&self, _: &Context, request: ResumeRequest) -> ttrpc::Result<Empty> {
        self.pod.container(&request.id)?.resume(&self.pod).await?;
        Ok(Empty::new())
    }

    async fn checkpoint(&self, _: &Context, _: CheckpointTaskRequest) -> ttrpc::Result<Empty> {
        Err(ContainerError::Unsupported("checkpointing").into())
    }

    async fn update(&self, _: &Context, request: UpdateTaskRequest) -> ttrpc::Result<Empty> {
        let container = self.pod.container(&request.id)?;
        let resources = request.resources.into_option().unwrap_or_default().value;
        container.update(&self.pod, &resources).await?;
        Ok(Empty::new())
    }

    async fn close_io(&self, _: &Context, request: CloseIORequest) -> ttrpc::Result<Empty> {
        let target = self.target(&request.id, &request.exec_id)?;
        if request.stdin
            && let Some(io) = target.process().io()
        {
            io.close_stdin();
        }
        Ok(Empty::new())
    }

    async fn resize_pty(&self, _: &Context, request: ResizePtyRequest) -> ttrpc::Result<Empty> {
        let target = self.target(&request.id, &request.exec_id)?;
        let size = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
        if let Some(io) = target.process().io() {
            io.resize(size(request.width), size(request.height)).map_err(|e| {
                let text = format!("cannot resize the terminal of {}: {e}", target.thing());
                get_rpc_status(Code::FAILED_PRECONDITION, text)
            })?;
        }
        Ok(Empty::new())
    }

    async fn stats(&self, _: &Context, request: StatsRequest) -> ttrpc::Result<StatsResponse> {
        let stats = self.pod.container(&request.id)?.metrics()?;
        Ok(StatsResponse { stats: MessageField::some(stats), ..StatsResponse::default() })
    }

    async fn connect(
        &self,
        _: &Context,
        request: ConnectRequest,
    ) -> ttrpc::Result<ConnectResponse> {
        let task_pid = self.pod.container(&request.id).map_or(0, |c| c.init.pid());
        Ok(ConnectResponse {
            shim_pid: std::process::id(),
            task_pid,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..ConnectResponse::default()
        })
    }

    async fn shutdown(&self, _: &Context, request: ShutdownRequest) -> ttrpc::Result<Empty> {
        let busy = !self.pod.is_empty() || self.pod.sandbox.is_up();
        if request.now || !busy {
            self.pod.leave.notify_one();
        }
        Ok(Empty::new())
    }
}

fn status(phase: Phase) -> Status {
    match phase {
        Phase::Creating => Status::UNKNOWN,
        Phase::Created | Phase::Starting => Status::CREATED,
        Phase::Running => Status::RUNNING,
        Phase::Paused => Status::PAUSED,
        Phase::Stopped(_) => Status::STOPPED,
    }
}

fn details(exec_id: String) -> Any {
    let details = ProcessDetails { exec_id, ..ProcessDetails::default() };
    Any {
        type_url: "containerd.runc.v1.ProcessDetails".to_owned(),
        value: details.write_to_bytes().unwrap_or_default(),
        ..Any::default()
    }
}
