// SPDX-License-Identifier: Apache-2.0
//! A pod's I/O helper: the process that serves the pipes of containers which a third-party shim
//! runs. It reads their output into their logs, lets clients attach and feeds their input, whether
//! or not the daemon is there.
//!
//! ```text
//!  container ── third-party shim ──▶ FIFO ──▶ helper ──▶ CRI log, attachments
//!                                                ▲
//!  daemon ── Open, ReopenLog, Attach, Drained ───┘   (calls only; the daemon may die)
//! ```
//!
//! A helper that dies is replaced at once and given all that its predecessor served. What was on
//! its way then is in the pipes and in its journal; nothing of it is lost.

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use crisp_podio::{
    CloseRequest, CloseResponse, HelloRequest, HelloResponse, OpenRequest, OpenResponse, SERVICE,
    ShutdownRequest, ShutdownResponse, TaskServer, method,
};
use crisp_words::ContainerId;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::{
    io::unix::AsyncFd,
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    BootstrapResult, Launch, Launcher, ShimClient, ShimError, ShimTarget, StdioAddresses, TaskApi,
    bootstrap::Prepared,
};
use crate::{
    store::{self, RecordError},
    sys::watched,
};

/// Name of the record in the sandbox's bundle.
const RECORD: &str = "io-helper.json";
/// First and longest pause between attempts to replace a helper.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a helper that was asked to end may take before it is killed.
const FAREWELL: Duration = Duration::from_secs(2);

/// A pod's I/O helper. Clones are the same one. Dropping the last leaves the helper running; only
/// nobody replaces it any more.
#[derive(Clone)]
pub struct IoHelper(Arc<Inner>);

/// A container whose pipes the helper shall serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenIo<'a> {
    /// The container.
    pub id: &'a ContainerId,
    /// Directory for its pipes and their journal: its bundle.
    pub dir: &'a Path,
    /// Absolute path of its log; empty: none.
    pub log: &'a Path,
    /// Whether it has a terminal.
    pub terminal: IoTerminal,
    /// Its standard input.
    pub stdin: IoStdin,
    /// Its shim, which has to be told when its standard input ends.
    pub shim: &'a ShimTarget,
}

/// Whether a container has a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoTerminal {
    /// Output and errors are two streams.
    None,
    /// All output is one stream.
    Tty,
}

/// A container's standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoStdin {
    /// The null device.
    Null,
    /// Open for every attachment.
    Open,
    /// Ends with the first attachment that carries it.
    Once,
}

struct Inner {
    prepared: Prepared,
    bundle: PathBuf,
    namespace: String,
    /// How long a helper may take to start, and to answer.
    limit: Duration,
    state: Mutex<State>,
    /// Whoever changes what is served, or who serves it, goes one at a time.
    turn: tokio::sync::Mutex<()>,
    /// Counts the helpers of this pod.
    generation: watch::Sender<u64>,
}

struct State {
    client: ShimClient,
    pid: u32,
    served: BTreeMap<String, OpenRequest>,
    leaving: bool,
}

/// What is kept in the bundle for the next daemon.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    address: String,
    containers: Vec<Served>,
}

/// One container of a [`Record`]: an [`OpenRequest`].
#[derive(Debug, Serialize, Deserialize)]
struct Served {
    id: String,
    dir: String,
    log: String,
    terminal: bool,
    stdin: bool,
    stdin_once: bool,
    task_address: String,
    task_version: u32,
    namespace: String,
}

impl Launcher {
    /// Starts the I/O helper of a pod, or finds the one that a daemon before this one started. One
    /// that has died meanwhile is replaced, with all that it served. From here on the helper is
    /// watched, and replaced whenever it dies.
    ///
    /// `launch` names crisp's own shim, whose verb this is, the sandbox and its bundle; its options
    /// are a `SandboxOptions` of which `shim_cgroup` counts.
    ///
    /// # Errors
    /// [`ShimError`] of the start, of the first call, or of the record of what was served.
    pub async fn io_helper(
        &self,
        launch: &Launch<'_>,
        limit: Duration,
    ) -> Result<IoHelper, ShimError> {
        let prepared = self.prepare(launch, "io")?;
        let record = Record::load(launch.bundle)?;
        let namespace = self.namespace().to_owned();
        let (client, pid) = connect(&prepared, &namespace, limit).await?;
        let served = record.containers.into_iter().map(|c| (c.id.clone(), c.into())).collect();
        let inner = Arc::new(Inner {
            prepared,
            bundle: launch.bundle.to_owned(),
            namespace,
            limit,
            state: Mutex::new(State { client, pid, served, leaving: false }),
            turn: tokio::sync::Mutex::default(),
            generation: watch::Sender::new(0),
        });
        inner.reopen_all().await;
        inner.save()?;
        tokio::spawn(watch_over(Arc::downgrade(&inner)));
        Ok(IoHelper(inner))
    }
}

impl IoHelper {
    /// Makes the pipes of a container and serves them; to be called before the shim is told to
    /// create it. Answers with what to give to the shim.
    ///
    /// # Errors
    /// Any [`ShimError`]; nothing is served then.
    pub async fn open(
        &self,
        open: &OpenIo<'_>,
        deadline: Duration,
    ) -> Result<StdioAddresses, ShimError> {
        let request = open.request();
        let _turn = self.0.turn.lock().await;
        let id = request.container_id.clone();
        // On record first: a helper that is replaced meanwhile is given it too.
        self.0.state().served.insert(id.clone(), request.clone());
        let opened = match self.0.save() {
            Ok(()) => self.0.call::<_, OpenResponse>(method::OPEN, &request, deadline).await,
            Err(error) => Err(error),
        };
        if opened.is_err() {
            self.0.state().served.remove(&id);
            let _ = self.0.save();
        }
        let paths = opened?;
        Ok(StdioAddresses {
            stdin: paths.stdin,
            stdout: paths.stdout,
            stderr: paths.stderr,
            terminal: open.terminal == IoTerminal::Tty,
        })
    }

    /// Stops serving a container: its attachments end, its pipes go. One that is not served is no
    /// error.
    ///
    /// # Errors
    /// Any [`ShimError`].
    pub async fn close(&self, id: &ContainerId, deadline: Duration) -> Result<(), ShimError> {
        let _turn = self.0.turn.lock().await;
        if self.0.state().served.remove(id.as_str()).is_none() {
            return Ok(());
        }
        self.0.save()?;
        let request = CloseRequest { container_id: id.to_string(), ..Default::default() };
        self.0.call::<_, CloseResponse>(method::CLOSE, &request, deadline).await.map(drop)
    }

    /// Ends the helper, with its pod. One that does not end is killed.
    pub async fn shutdown(&self, deadline: Duration) {
        let _turn = self.0.turn.lock().await;
        let (client, pid) = {
            let mut state = self.0.state();
            state.leaving = true;
            state.served.clear();
            (state.client.clone(), state.pid)
        };
        let request = ShutdownRequest::new();
        let asked: Result<ShutdownResponse, _> =
            client.call(SERVICE, method::SHUTDOWN, &request, deadline).await;
        let left = asked.is_ok() && timeout(FAREWELL, client.closed()).await.is_ok();
        if !left && !client.is_closed() {
            tracing::warn!(helper = client.address(), pid, "I/O helper does not end; killing it");
            kill(&client, pid);
        }
        if let Some(socket) = client.address().strip_prefix("unix://") {
            // Gone already, as after an orderly end, is as good.
            let _ = fs::remove_file(socket);
        }
        let _ = fs::remove_file(self.0.bundle.join(RECORD));
    }

    /// Address on which it serves Pod I/O; the same for all helpers of a pod.
    #[must_use]
    pub fn address(&self) -> String {
        self.0.state().client.address().to_owned()
    }

    /// Pid of the helper of the moment.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.state().pid
    }

    /// Calls what may be repeated: a helper that dies meanwhile is replaced, and the next one asked.
    pub(super) async fn repeat<A, F>(
        &self,
        deadline: Duration,
        call: impl Fn(ShimClient, Duration) -> F,
    ) -> Result<A, ShimError>
    where
        F: Future<Output = Result<A, ShimError>>,
    {
        self.0.repeat(deadline, call).await
    }
}

impl OpenIo<'_> {
    fn request(&self) -> OpenRequest {
        let version = match self.shim.task_api {
            TaskApi::V2 => 2,
            TaskApi::V3 => 3,
        };
        let task = TaskServer {
            address: self.shim.address.clone(),
            version,
            namespace: self.shim.namespace.clone(),
            ..Default::default()
        };
        OpenRequest {
            container_id: self.id.to_string(),
            log_path: self.log.display().to_string(),
            terminal: self.terminal == IoTerminal::Tty,
            stdin: self.stdin != IoStdin::Null,
            stdin_once: self.stdin == IoStdin::Once,
            dir: self.dir.display().to_string(),
            task: Some(task).into(),
            ..Default::default()
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call<M: protobuf::Message, A: protobuf::Message>(
        &self,
        method: &'static str,
        request: &M,
        deadline: Duration,
    ) -> Result<A, ShimError> {
        self.repeat(deadline, |client, left| async move {
            client.call(SERVICE, method, request, left).await
        })
        .await
    }

    async fn repeat<A, F>(
        &self,
        deadline: Duration,
        call: impl Fn(ShimClient, Duration) -> F,
    ) -> Result<A, ShimError>
    where
        F: Future<Output = Result<A, ShimError>>,
    {
        let until = Instant::now() + deadline;
        let mut replaced = self.generation.subscribe();
        loop {
            replaced.mark_unchanged();
            let client = self.state().client.clone();
            let left = until.saturating_duration_since(Instant::now());
            let dead = match call(client, left).await {
                Err(error @ ShimError::Dead { .. }) => error,
                other => return other,
            };
            if self.state().leaving
                || !matches!(timeout_at(until, replaced.changed()).await, Ok(Ok(())))
            {
                return Err(dead);
            }
        }
    }

    /// Gives the helper of the moment all that is to be served.
    async fn reopen_all(&self) {
        let (client, all) = {
            let state = self.state();
            (state.client.clone(), state.served.values().cloned().collect::<Vec<_>>())
        };
        for request in all {
            let opened: Result<OpenResponse, _> =
                client.call(SERVICE, method::OPEN, &request, self.limit).await;
            if let Err(error) = opened {
                tracing::error!(container = request.container_id, %error, "output is not served");
            }
            // It may have been closed meanwhile, before the helper knew of it.
            if !self.state().served.contains_key(&request.container_id) {
                let id = request.container_id;
                let close = CloseRequest { container_id: id, ..Default::default() };
                let _: Result<CloseResponse, _> =
                    client.call(SERVICE, method::CLOSE, &close, self.limit).await;
            }
        }
    }

    fn save(&self) -> Result<(), ShimError> {
        let record = {
            let state = self.state();
            Record {
                address: state.client.address().to_owned(),
                containers: state.served.values().map(Served::from).collect(),
            }
        };
        record.save(&self.bundle)
    }

    async fn replace(&self) -> Result<(), ShimError> {
        let (client, pid) = connect(&self.prepared, &self.namespace, self.limit).await?;
        {
            let mut state = self.state();
            state.client = client;
            state.pid = pid;
        }
        self.reopen_all().await;
        self.generation.send_modify(|n| *n += 1);
        tracing::info!(bundle = %self.bundle.display(), pid, "I/O helper is replaced");
        Ok(())
    }
}

/// Replaces the helper whenever it dies, for as long as somebody holds on to it.
async fn watch_over(helper: Weak<Inner>) {
    loop {
        let Some(ended) = helper.upgrade().map(|inner| Ended::of(&inner.state())) else { return };
        ended.wait().await;
        let mut pause = PAUSE;
        loop {
            let Some(inner) = helper.upgrade() else { return };
            if inner.state().leaving {
                return;
            }
            match inner.replace().await {
                Ok(()) => break,
                Err(error) => {
                    let bundle = inner.bundle.display();
                    tracing::error!(%bundle, %error, "I/O helper cannot be replaced; trying again");
                }
            }
            drop(inner);
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// The end of one helper: by its pidfd, or by its connection where there is none to be had.
struct Ended {
    client: ShimClient,
    process: Option<AsyncFd<OwnedFd>>,
}

impl Ended {
    fn of(state: &State) -> Self {
        Self { client: state.client.clone(), process: pidfd(&state.client, state.pid) }
    }

    async fn wait(self) {
        let Some(process) = self.process else { return self.client.closed().await };
        // A pidfd becomes readable when its process ends.
        let _ = process.readable().await;
    }
}

/// The process of a helper. The pid is surely its own if the connection still stands once the
/// pidfd is there.
fn pidfd(client: &ShimClient, pid: u32) -> Option<AsyncFd<OwnedFd>> {
    let process = pidfd_open(Pid::from_raw(pid.cast_signed())?, PidfdFlags::empty()).ok()?;
    if client.is_closed() {
        return None;
    }
    watched::descriptor(process).ok()
}

fn kill(client: &ShimClient, pid: u32) {
    if let Some(process) = pidfd(client, pid) {
        let _ = pidfd_send_signal(process.get_ref(), Signal::KILL);
    }
}

/// Finds or starts a helper. One that is just dying may still be found: then once more.
async fn connect(
    prepared: &Prepared,
    namespace: &str,
    limit: Duration,
) -> Result<(ShimClient, u32), ShimError> {
    let until = Instant::now() + limit;
    loop {
        match connect_once(prepared, namespace, limit).await {
            Err(ShimError::Dead { .. }) if Instant::now() < until => sleep(PAUSE).await,
            other => return other,
        }
    }
}

async fn connect_once(
    prepared: &Prepared,
    namespace: &str,
    limit: Duration,
) -> Result<(ShimClient, u32), ShimError> {
    let BootstrapResult { address, task_api } = prepared.run(limit).await?;
    let target = ShimTarget { address, namespace: namespace.to_owned(), task_api };
    let client = ShimClient::connect(target, limit).await?;
    let hello: HelloResponse =
        client.call(SERVICE, method::HELLO, &HelloRequest::new(), limit).await?;
    Ok((client, hello.pid))
}

impl store::Record for Record {
    const KIND: &'static str = "I/O helper";
    const VERSION: u32 = 1;
}

impl Record {
    /// The record in a bundle; an empty one if there is none.
    fn load(bundle: &Path) -> Result<Self, ShimError> {
        let path = bundle.join(RECORD);
        match store::read(&path) {
            Err(RecordError::Missing { .. }) => Ok(Self::default()),
            read => read.map_err(|error| ShimError::file(&path, io::Error::other(error))),
        }
    }

    fn save(&self, bundle: &Path) -> Result<(), ShimError> {
        let path = bundle.join(RECORD);
        store::write(&path, self).map_err(|error| ShimError::file(&path, io::Error::other(error)))
    }
}

impl From<&OpenRequest> for Served {
    fn from(request: &OpenRequest) -> Self {
        let task = request.task.clone().unwrap_or_default();
        Self {
            id: request.container_id.clone(),
            dir: request.dir.clone(),
            log: request.log_path.clone(),
            terminal: request.terminal,
            stdin: request.stdin,
            stdin_once: request.stdin_once,
            task_address: task.address,
            task_version: task.version,
            namespace: task.namespace,
        }
    }
}

impl From<Served> for OpenRequest {
    fn from(served: Served) -> Self {
        let task = TaskServer {
            address: served.task_address,
            version: served.task_version,
            namespace: served.namespace,
            ..Default::default()
        };
        Self {
            container_id: served.id,
            dir: served.dir,
            log_path: served.log,
            terminal: served.terminal,
            stdin: served.stdin,
            stdin_once: served.stdin_once,
            task: Some(task).into(),
            ..Default::default()
        }
    }
}
