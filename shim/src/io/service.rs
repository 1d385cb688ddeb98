// SPDX-License-Identifier: Apache-2.0
//! Pod I/O over the containers of this shim.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use crisp_podio::{
    AttachRequest, AttachResponse, DrainedRequest, DrainedResponse, PodIo, ReopenLogRequest,
    ReopenLogResponse,
};
use ttrpc::{Code, error::get_rpc_status};

use super::{AttachTo, ContainerIo, IoError};

/// How long the last output of a terminal may take to come through.
const DRAIN: Duration = Duration::from_secs(1);

/// The streams of all containers, by container id.
#[derive(Clone, Default)]
pub struct Registry(Arc<Mutex<HashMap<String, ContainerIo>>>);

impl Registry {
    /// Adds a container's streams; those of a container before of that id are let go.
    pub fn insert(&self, container: String, io: ContainerIo) {
        self.map().insert(container, io);
    }

    /// Forgets a container.
    pub fn remove(&self, container: &str) -> Option<ContainerIo> {
        self.map().remove(container)
    }

    /// The streams of a container.
    #[must_use]
    pub fn get(&self, container: &str) -> Option<ContainerIo> {
        self.map().get(container).cloned()
    }

    fn map(&self) -> MutexGuard<'_, HashMap<String, ContainerIo>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves Pod I/O; give it to [`crisp_podio::create_pod_io`].
pub struct PodIoService {
    containers: Registry,
    sockets: PathBuf,
    attachments: AtomicU64,
}

impl PodIoService {
    /// Serves the containers of `containers`. `sockets` is where attach sockets are made: a short
    /// path, since an address holds 107 bytes.
    #[must_use]
    pub fn new(containers: Registry, sockets: PathBuf) -> Self {
        Self { containers, sockets, attachments: AtomicU64::new(0) }
    }

    fn container(&self, id: &str) -> ttrpc::Result<ContainerIo> {
        self.containers
            .get(id)
            .ok_or_else(|| get_rpc_status(Code::NOT_FOUND, format!("no container {id}")))
    }
}

#[async_trait]
impl PodIo for PodIoService {
    async fn reopen_log(&self, request: ReopenLogRequest) -> ttrpc::Result<ReopenLogResponse> {
        self.container(&request.container_id)?.reopen().map_err(status)?;
        Ok(ReopenLogResponse::new())
    }

    async fn attach(&self, request: AttachRequest) -> ttrpc::Result<AttachResponse> {
        let io = self.container(&request.container_id)?;
        let number = self.attachments.fetch_add(1, Ordering::Relaxed);
        let socket = self.sockets.join(format!("a{}-{number}", std::process::id()));
        let to = AttachTo { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr };
        io.attach(to, &socket).map_err(status)?;
        Ok(AttachResponse { socket: socket.display().to_string(), ..Default::default() })
    }

    async fn drained(&self, request: DrainedRequest) -> ttrpc::Result<DrainedResponse> {
        self.container(&request.container_id)?.drained(DRAIN).await;
        Ok(DrainedResponse::new())
    }
}

fn status(error: IoError) -> ttrpc::Error {
    let code = match error {
        IoError::NoLogDirectory { .. } | IoError::NotAttachable(_) | IoError::NoTerminal => {
            Code::FAILED_PRECONDITION
        }
        _ => Code::INTERNAL,
    };
    get_rpc_status(code, error)
}
