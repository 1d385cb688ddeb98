// SPDX-License-Identifier: Apache-2.0
//! Pod I/O for containers that another's shim runs: what the pod's I/O helper serves.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use crisp_podio::{
    AttachRequest, AttachResponse, CloseRequest, CloseResponse, DrainedRequest, DrainedResponse,
    HelloRequest, HelloResponse, OpenRequest, OpenResponse, PodIo, ReopenLogRequest,
    ReopenLogResponse, ShutdownRequest, ShutdownResponse,
};
use crisp_words::{ContainerId, InvalidId, Stdio};
use tokio::sync::Notify;
use ttrpc::{Code, error::get_rpc_status};

use super::{close_io::close_io, pod_io};
use crate::{
    io::{ContainerIo, IoError, Served, Streams},
    verbs::chain,
};

/// The containers whose pipes this process serves.
pub(crate) struct Opened {
    containers: Mutex<BTreeMap<String, Entry>>,
    /// Where the sockets of attachments go: beside the server's own.
    sockets: PathBuf,
    /// Rung when the helper is to leave, and when it has less to do.
    pub(crate) changed: Notify,
    shut_down: Mutex<bool>,
}

struct Entry {
    request: OpenRequest,
    served: Served,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("no container {0} is open")]
    NotOpen(String),
    #[error("container {0} is open already, and not as asked for now")]
    OpenOtherwise(String),
    #[error("{what} {path:?} is no absolute path")]
    Relative { what: &'static str, path: String },
    #[error(transparent)]
    Id(#[from] InvalidId),
    #[error("container {id}")]
    Io { id: String, source: IoError },
}

impl From<OpenError> for ttrpc::Error {
    fn from(error: OpenError) -> Self {
        let code = match &error {
            OpenError::NotOpen(_) => Code::NOT_FOUND,
            OpenError::OpenOtherwise(_) => Code::ALREADY_EXISTS,
            OpenError::Relative { .. } | OpenError::Id(_) => Code::INVALID_ARGUMENT,
            OpenError::Io { source: IoError::NotAttachable(_), .. } => Code::FAILED_PRECONDITION,
            OpenError::Io { .. } => Code::INTERNAL,
        };
        get_rpc_status(code, chain(&error))
    }
}

impl Opened {
    /// Serves nothing yet; `socket` is the server's own.
    pub(crate) fn new(socket: Option<&Path>) -> Self {
        Self {
            containers: Mutex::default(),
            sockets: pod_io::beside(socket),
            changed: Notify::new(),
            shut_down: Mutex::default(),
        }
    }

    /// Whether no container is served.
    pub(crate) fn is_empty(&self) -> bool {
        self.containers().is_empty()
    }

    /// Whether the helper was told to end.
    pub(crate) fn is_shut_down(&self) -> bool {
        *self.shut_down.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn containers(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn io(&self, id: &str) -> Result<ContainerIo, OpenError> {
        let containers = self.containers();
        let entry = containers.get(id).ok_or_else(|| OpenError::NotOpen(id.to_owned()))?;
        Ok(entry.served.io.clone())
    }

    fn open(&self, request: OpenRequest) -> Result<OpenResponse, OpenError> {
        let id = request.container_id.clone();
        let mut containers = self.containers();
        if let Some(entry) = containers.get(&id) {
            return match entry.request == request {
                true => Ok(answer(&entry.served)),
                false => Err(OpenError::OpenOtherwise(id)),
            };
        }
        ContainerId::new(id.as_str())?;
        let streams = streams(&request)?;
        let (task, container) = (request.task.clone().into_option(), id.clone());
        let input_ended = async move {
            if let Some(task) = task {
                close_io(task, container).await;
            }
        };
        let served = ContainerIo::serve(Path::new(&request.dir), streams, input_ended)
            .map_err(|source| OpenError::Io { id: id.clone(), source })?;
        let paths = answer(&served);
        containers.insert(id, Entry { request, served });
        Ok(paths)
    }

    fn close(&self, id: &str) {
        if let Some(entry) = self.containers().remove(id) {
            entry.served.io.close();
        }
        self.changed.notify_one();
    }
}

fn streams(request: &OpenRequest) -> Result<Streams, OpenError> {
    let absolute = |what, path: &str| match Path::new(path).is_absolute() {
        true => Ok(PathBuf::from(path)),
        false => Err(OpenError::Relative { what, path: path.to_owned() }),
    };
    absolute("directory", &request.dir)?;
    let output = match request.log_path.as_str() {
        "" => Stdio::Attach,
        path => Stdio::CriLog(absolute("log", path)?),
    };
    Ok(Streams {
        stdin: if request.stdin { Stdio::Attach } else { Stdio::Null },
        stderr: if request.terminal { Stdio::Null } else { output.clone() },
        stdout: output,
        terminal: request.terminal,
        stdin_once: request.stdin_once,
        ..Streams::default()
    })
}

fn answer(served: &Served) -> OpenResponse {
    let text = |path: &Option<PathBuf>| {
        path.as_ref().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default()
    };
    OpenResponse {
        stdin: text(&served.stdin),
        stdout: text(&served.stdout),
        stderr: text(&served.stderr),
        ..OpenResponse::default()
    }
}

/// The service, over what is open.
pub(super) struct OpenedService(pub(super) Arc<Opened>);

#[async_trait]
impl PodIo for OpenedService {
    async fn reopen_log(&self, request: ReopenLogRequest) -> ttrpc::Result<ReopenLogResponse> {
        let id = request.container_id;
        self.0.io(&id)?.reopen().map_err(|source| OpenError::Io { id, source })?;
        Ok(ReopenLogResponse::new())
    }

    async fn attach(&self, request: AttachRequest) -> ttrpc::Result<AttachResponse> {
        let io = self.0.io(&request.container_id)?;
        let attached = pod_io::attach(&io, &request, &self.0.sockets);
        Ok(attached.map_err(|source| OpenError::Io { id: request.container_id, source })?)
    }

    /// Called once the exit is known: then what has no writer any more will not get one.
    async fn drained(&self, request: DrainedRequest) -> ttrpc::Result<DrainedResponse> {
        self.0.io(&request.container_id)?.drained().await;
        Ok(DrainedResponse::new())
    }

    async fn open(&self, request: OpenRequest) -> ttrpc::Result<OpenResponse> {
        Ok(self.0.open(request)?)
    }

    async fn close(&self, request: CloseRequest) -> ttrpc::Result<CloseResponse> {
        self.0.close(&request.container_id);
        Ok(CloseResponse::new())
    }

    async fn shutdown(&self, _request: ShutdownRequest) -> ttrpc::Result<ShutdownResponse> {
        let all: Vec<String> = self.0.containers().keys().cloned().collect();
        for id in all {
            self.0.close(&id);
        }
        *self.0.shut_down.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_one();
        Ok(ShutdownResponse::new())
    }

    async fn hello(&self, _request: HelloRequest) -> ttrpc::Result<HelloResponse> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(HelloResponse { pid: std::process::id(), version, ..HelloResponse::default() })
    }
}
