// SPDX-License-Identifier: Apache-2.0
//! The Task service, as the daemon calls it.

use std::{collections::HashMap, path::Path, time::Duration};

use containerd_shim_protos::{
    api::{
        CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest, CreateTaskResponse,
        DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest, Mount, PauseRequest,
        PidsRequest, PidsResponse, ResizePtyRequest, ResumeRequest, ShutdownRequest, StartRequest,
        StartResponse, StateRequest, StateResponse, StatsRequest, StatsResponse, Status,
        UpdateTaskRequest, WaitRequest, WaitResponse,
    },
    cgroups, cgroups_v2,
};
use crisp_words::{ContainerId, ExecId, SandboxId};
use protobuf::{
    Message,
    well_known_types::{any::Any, timestamp::Timestamp},
};

use super::{Options, ShimClient, ShimError, client::Service};

/// Type that a JSON OCI process carries; Kata checks it.
const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
/// Type that JSON OCI resources carry.
const RESOURCES: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

/// A container's init or one exec in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskRef<'a> {
    id: &'a str,
    exec: &'a str,
}

impl<'a> TaskRef<'a> {
    /// The init of a container.
    #[must_use]
    pub fn container(id: &'a ContainerId) -> Self {
        Self { id: id.as_str(), exec: "" }
    }

    /// The init of a sandbox container, for shims that need one.
    #[must_use]
    pub fn sandbox(id: &'a SandboxId) -> Self {
        Self { id: id.as_str(), exec: "" }
    }

    /// An exec in a container.
    #[must_use]
    pub fn exec(id: &'a ContainerId, exec: &'a ExecId) -> Self {
        Self { id: id.as_str(), exec: exec.as_str() }
    }
}

/// The three streams, as [`crisp_words::Stdio`] writes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StdioAddresses {
    /// Standard input.
    pub stdin: String,
    /// Standard output.
    pub stdout: String,
    /// Standard error; empty with a terminal.
    pub stderr: String,
    /// Whether the three are one terminal.
    pub terminal: bool,
}

/// A mount that the shim makes on the bundle's `rootfs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootfsMount {
    /// File system type.
    pub kind: String,
    /// Device or directory.
    pub source: String,
    /// Mount options.
    pub options: Vec<String>,
}

/// What `Create` takes.
#[derive(Debug, Clone)]
pub struct CreateTask<'a> {
    /// Which container; an exec is made by [`ShimClient::exec`].
    pub task: TaskRef<'a>,
    /// Its bundle.
    pub bundle: &'a Path,
    /// Its streams.
    pub stdio: StdioAddresses,
    /// What the shim shall mount; empty: `rootfs` is mounted already.
    pub rootfs: Vec<RootfsMount>,
    /// The shim's options.
    pub options: Option<Options>,
}

/// What `Exec` takes.
#[derive(Debug, Clone)]
pub struct ExecTask<'a> {
    /// Which exec of which container.
    pub task: TaskRef<'a>,
    /// Its streams.
    pub stdio: StdioAddresses,
    /// The OCI process as JSON.
    pub process_json: Vec<u8>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskExit {
    /// Pid of the process; 0 where the shim does not say.
    pub pid: u32,
    /// Exit code, or 128 + signal number.
    pub status: u32,
    /// When, in nanoseconds since the Unix epoch; `None` where the shim does not say.
    pub exited_at_ns: Option<i64>,
}

/// State of a process as the shim sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskStatus {
    /// The shim gave none, or one that does not exist.
    Unknown,
    /// Created, not started.
    Created,
    /// Runs.
    Running,
    /// Ended.
    Stopped,
    /// Frozen.
    Paused,
    /// About to be frozen.
    Pausing,
}

/// What `State` answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskState {
    /// Where in its life it is.
    pub status: TaskStatus,
    /// Its pid; for VM shims the hypervisor's.
    pub pid: u32,
    /// Its streams.
    pub stdio: StdioAddresses,
    /// How it ended, once it has.
    pub exit: Option<TaskExit>,
}

/// Which processes a signal goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillScope {
    /// The process alone.
    Process,
    /// Every process of the container.
    Container,
}

/// What `Connect` answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// Pid of the shim.
    pub shim_pid: u32,
    /// Pid of the container's init; 0 when the shim does not know the container.
    pub task_pid: u32,
    /// What the shim says about itself.
    pub version: String,
}

/// What `Stats` answers, by the host's cgroup version.
#[derive(Debug, Clone)]
pub enum TaskStats {
    /// cgroup v1.
    V1(Box<cgroups::metrics::Metrics>),
    /// cgroup v2.
    V2(Box<cgroups_v2::metrics::Metrics>),
}

impl ShimClient {
    /// Makes a container; its process does not run yet. Answers with its pid.
    ///
    /// # Errors
    /// [`ShimError::AlreadyExists`] when the shim has one of that id; any [`ShimError`].
    pub async fn create(
        &self,
        create: CreateTask<'_>,
        deadline: Duration,
    ) -> Result<u32, ShimError> {
        let bundle = create.bundle.to_str().ok_or_else(|| {
            ShimError::malformed(
                self.name(),
                "Create",
                format!("bundle {} is not UTF-8", create.bundle.display()),
            )
        })?;
        let mount = |m: RootfsMount| Mount {
            type_: m.kind,
            source: m.source,
            options: m.options,
            ..Default::default()
        };
        let request = CreateTaskRequest {
            id: create.task.id.to_owned(),
            bundle: bundle.to_owned(),
            rootfs: create.rootfs.into_iter().map(mount).collect(),
            terminal: create.stdio.terminal,
            stdin: create.stdio.stdin,
            stdout: create.stdio.stdout,
            stderr: create.stdio.stderr,
            options: create.options.map(|o| o.to_any()).into(),
            ..Default::default()
        };
        let answer: CreateTaskResponse = self.task("Create", &request, deadline).await?;
        Ok(answer.pid)
    }

    /// Starts a container's init or an exec. Answers with its pid.
    ///
    /// # Errors
    /// Any [`ShimError`].
    pub async fn start(&self, task: TaskRef<'_>, deadline: Duration) -> Result<u32, ShimError> {
        let request = StartRequest {
            id: task.id.to_owned(),
            exec_id: task.exec.to_owned(),
            ..Default::default()
        };
        let answer: StartResponse = self.task("Start", &request, deadline).await?;
        Ok(answer.pid)
    }

    /// Registers an exec; [`ShimClient::start`] runs it and [`ShimClient::delete`] forgets it.
    ///
    /// # Errors
    /// [`ShimError::AlreadyExists`] for an id in use; any [`ShimError`].
    pub async fn exec(&self, exec: ExecTask<'_>, deadline: Duration) -> Result<(), ShimError> {
        let request = ExecProcessRequest {
            id: exec.task.id.to_owned(),
            exec_id: exec.task.exec.to_owned(),
            terminal: exec.stdio.terminal,
            stdin: exec.stdio.stdin,
            stdout: exec.stdio.stdout,
            stderr: exec.stdio.stderr,
            spec: json(PROCESS, exec.process_json),
            ..Default::default()
        };
        self.task::<_, Empty>("Exec", &request, deadline).await.map(drop)
    }

    /// Waits until a process ends, as long as the shim lives. Valid from `Create` on; answers at
    /// once for one that ended.
    ///
    /// # Errors
    /// [`ShimError::Dead`] when the connection breaks, [`ShimError::NotFound`] after `Delete`.
    pub async fn wait(&self, task: TaskRef<'_>) -> Result<TaskExit, ShimError> {
        let request = WaitRequest {
            id: task.id.to_owned(),
            exec_id: task.exec.to_owned(),
            ..Default::default()
        };
        let answer: WaitResponse = self.wait_for(Service::Task, "Wait", &request).await?;
        let exited_at_ns = nanoseconds(answer.exited_at.as_ref());
        Ok(TaskExit { pid: 0, status: answer.exit_status, exited_at_ns })
    }

    /// Where a process is in its life: the call to recover by.
    ///
    /// # Errors
    /// Any [`ShimError`].
    pub async fn state(
        &self,
        task: TaskRef<'_>,
        deadline: Duration,
    ) -> Result<TaskState, ShimError> {
        let request = StateRequest {
            id: task.id.to_owned(),
            exec_id: task.exec.to_owned(),
            ..Default::default()
        };
        let answer: StateResponse = self.task("State", &request, deadline).await?;
        Ok(TaskState::from_wire(answer))
    }

    /// Sends a signal. A process that is gone is [`ShimError::NotFound`].
    ///
    /// # Errors
    /// Any [`ShimError`].
    pub async fn kill(
        &self,
        task: TaskRef<'_>,
        signal: u32,
        scope: KillScope,
        deadline: Duration,
    ) -> Result<(), ShimError> {
        let request = KillRequest {
            id: task.id.to_owned(),
            exec_id: task.exec.to_owned(),
            signal,
            all: scope == KillScope::Container,
            ..Default::default()
        };
        self.task::<_, Empty>("Kill", &request, deadline).await.map(drop)
    }

    /// Forgets a container or exec that has ended, and removes what it held.
    ///
    /// # Errors
    /// [`ShimError::Refused`] while it runs; any [`ShimError`].
    pub async fn delete(
        &self,
        task: TaskRef<'_>,
        deadline: Duration,
    ) -> Result<TaskExit, ShimError> {
        let request = DeleteRequest {
            id: task.id.to_owned(),
            exec_id: task.exec.to_owned(),
            ..Default::default()
        };
        let answer: DeleteResponse = self.task("Delete", &request, deadline).await?;
        Ok(TaskExit::from_delete(&answer))
    }

    /// Pids of all processes of a container; for VM shims the hypervisor's alone.
    ///
    /// # Errors
    /// Any [`ShimError`].
    pub async fn pids(&self, task: TaskRef<'_>, deadline: Duration) -> Result<Vec<u32>, ShimError> {
        let request = PidsRequest { id: task.id.to_owned(), ..Default::default() };
        let answer: PidsResponse = self.task("Pids", &request, deadline).await?;
        Ok(answer.processes.iter().map(|p| p.pid).collect())
    }

    /// Lets go of the shim's end of a process's standard input. Close our own end first: Kata
    /// answers, and serves its pod, only after the pipe has reached its end.
    ///
    /// # Errors
    /// Any [`ShimError`].
    pub async fn close_stdin(
        &self,
        task: TaskRef<'_>,
        deadline: Duration,
    ) -> Result<(), ShimError> {
        let request = CloseIORequest {
            id: task.id.to_owned(),
            exec_id: task.exec.to_owned(),
            stdin: true,
            ..Default::default()
        };
        self.task::<_, Empty>("CloseIO", &request, deadline).await.map(drop)
    }

    /// Tells a terminal its size, in characters. Before the start of an exec some shims drop it:
    /// send it again after.
    ///
    /// # Errors
    /// Any [`ShimError`].
    pub async fn resize_pty(
        &self,
        task: TaskRef<'_>,
        size: (u32, u32),
        deadline: Duration,
    ) -> Result<(), ShimError> {
        let request = ResizePtyRequest {
            id: task.id.to_owned(),
            exec_id: task.exec.to_owned(),
            width: size.0,
            height: size.1,
            ..Default::default()
        };
        self.task::<_, Empty>("ResizePty", &request, deadline).await.map(drop)
    }

    /// Resource use of a container, in the terms of the host's cgroup version.
    ///
    /// # Errors
    /// [`ShimError::Malformed`] for statistics of another kind; any [`ShimError`].
    pub async fn stats(
        &self,
        task: TaskRef<'_>,
        deadline: Duration,
    ) -> Result<TaskStats, ShimError> {
        let request = StatsRequest { id: task.id.to_owned(), ..Default::default() };
        let answer: StatsResponse = self.task("Stats", &request, deadline).await?;
        let any = answer.stats.unwrap_or_default();
        let malformed = |e: protobuf::Error| ShimError::malformed(self.name(), "Stats", e);
        let name = any.type_url.rsplit('/').next().unwrap_or_default();
        match name {
            "io.containerd.cgroups.v1.Metrics" => Message::parse_from_bytes(&any.value)
                .map(|m| TaskStats::V1(Box::new(m)))
                .map_err(malformed),
            "io.containerd.cgroups.v2.Metrics" => Message::parse_from_bytes(&any.value)
                .map(|m| TaskStats::V2(Box::new(m)))
                .map_err(malformed),
            other => Err(ShimError::malformed(
                self.name(),
                "Stats",
                format!("statistics of type {other:?}"),
            )),
        }
    }

    /// Changes a container's resources; `resources_json` is OCI LinuxResources.
    ///
    /// # Errors
    /// Any [`ShimError`].
    pub async fn update(
        &self,
        task: TaskRef<'_>,
        resources_json: Vec<u8>,
        annotations: HashMap<String, String>,
        deadline: Duration,
    ) -> Result<(), ShimError> {
        let request = UpdateTaskRequest {
            id: task.id.to_owned(),
            resources: json(RESOURCES, resources_json),
            annotations,
            ..Default::default()
        };
        self.task::<_, Empty>("Update", &request, deadline).await.map(drop)
    }

    /// Freezes a container.
    ///
    /// # Errors
    /// Any [`ShimError`].
    pub async fn pause(&self, task: TaskRef<'_>, deadline: Duration) -> Result<(), ShimError> {
        let request = PauseRequest { id: task.id.to_owned(), ..Default::default() };
        self.task::<_, Empty>("Pause", &request, deadline).await.map(drop)
    }

    /// Thaws a container.
    ///
    /// # Errors
    /// Any [`ShimError`].
    pub async fn resume(&self, task: TaskRef<'_>, deadline: Duration) -> Result<(), ShimError> {
        let request = ResumeRequest { id: task.id.to_owned(), ..Default::default() };
        self.task::<_, Empty>("Resume", &request, deadline).await.map(drop)
    }

    /// Asks the shim who it is: the cheapest ping.
    ///
    /// # Errors
    /// Any [`ShimError`].
    pub async fn connected(
        &self,
        task: TaskRef<'_>,
        deadline: Duration,
    ) -> Result<Connected, ShimError> {
        let request = ConnectRequest { id: task.id.to_owned(), ..Default::default() };
        let answer: ConnectResponse = self.task("Connect", &request, deadline).await?;
        Ok(Connected {
            shim_pid: answer.shim_pid,
            task_pid: answer.task_pid,
            version: answer.version,
        })
    }

    /// Asks the shim to end. One that still has containers stays (gVisor's says so by an error).
    ///
    /// # Errors
    /// Any [`ShimError`]; a connection that breaks instead of an answer is success.
    pub async fn shutdown(&self, task: TaskRef<'_>, deadline: Duration) -> Result<(), ShimError> {
        let request = ShutdownRequest { id: task.id.to_owned(), ..Default::default() };
        match self.task::<_, Empty>("Shutdown", &request, deadline).await {
            Ok(_) | Err(ShimError::Dead { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl TaskState {
    fn from_wire(answer: StateResponse) -> Self {
        let status = match answer.status.enum_value_or(Status::UNKNOWN) {
            Status::UNKNOWN => TaskStatus::Unknown,
            Status::CREATED => TaskStatus::Created,
            Status::RUNNING => TaskStatus::Running,
            Status::STOPPED => TaskStatus::Stopped,
            Status::PAUSED => TaskStatus::Paused,
            Status::PAUSING => TaskStatus::Pausing,
        };
        let exit = (status == TaskStatus::Stopped).then(|| TaskExit {
            pid: answer.pid,
            status: answer.exit_status,
            exited_at_ns: nanoseconds(answer.exited_at.as_ref()),
        });
        let stdio = StdioAddresses {
            stdin: answer.stdin,
            stdout: answer.stdout,
            stderr: answer.stderr,
            terminal: answer.terminal,
        };
        Self { status, pid: answer.pid, stdio, exit }
    }
}

impl TaskExit {
    pub(super) fn from_delete(answer: &DeleteResponse) -> Self {
        Self {
            pid: answer.pid,
            status: answer.exit_status,
            exited_at_ns: nanoseconds(answer.exited_at.as_ref()),
        }
    }
}

/// A time as nanoseconds since the Unix epoch. Go's zero time (year 1) and an absent one are
/// `None`.
pub(super) fn nanoseconds(time: Option<&Timestamp>) -> Option<i64> {
    let time = time?;
    if time.seconds <= 0 {
        return None;
    }
    time.seconds.checked_mul(1_000_000_000)?.checked_add(i64::from(time.nanos))
}

fn json(type_url: &str, value: Vec<u8>) -> protobuf::MessageField<Any> {
    Some(Any { type_url: type_url.to_owned(), value, ..Default::default() }).into()
}
