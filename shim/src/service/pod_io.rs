// SPDX-License-Identifier: Apache-2.0
//! Pod I/O: logs, attach, drained.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use crisp_podio::{
    AttachRequest, AttachResponse, DrainedRequest, DrainedResponse, PodIo, ReopenLogRequest,
    ReopenLogResponse,
};

use crate::{
    container::ContainerError,
    io::{AttachTo, ContainerIo, IoError},
    pod::Pod,
};

pub(super) struct PodIoService {
    pod: Arc<Pod>,
    sockets: PathBuf,
}

impl PodIoService {
    pub(super) fn new(pod: Arc<Pod>, socket: Option<&Path>) -> Self {
        Self { pod, sockets: beside(socket) }
    }

    fn io(&self, id: &str) -> Result<ContainerIo, ContainerError> {
        let io = self.pod.container(id)?.init.io();
        io.ok_or_else(|| ContainerError::NoContainer { id: id.to_owned() })
    }
}

/// Where the sockets of attachments go: beside the server's own.
pub(super) fn beside(socket: Option<&Path>) -> PathBuf {
    socket.and_then(Path::parent).unwrap_or(Path::new("/run")).to_owned()
}

/// Prepares an attachment to `io`.
pub(super) fn attach(
    io: &ContainerIo,
    request: &AttachRequest,
    sockets: &Path,
) -> Result<AttachResponse, IoError> {
    let to = AttachTo { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr };
    let socket = io.attach(to, sockets)?.to_string_lossy().into_owned();
    Ok(AttachResponse { socket, ..AttachResponse::default() })
}

fn told(id: &str) -> impl FnOnce(IoError) -> ContainerError {
    move |source| ContainerError::Io { thing: format!("container {id}"), source }
}

#[async_trait]
impl PodIo for PodIoService {
    async fn reopen_log(&self, request: ReopenLogRequest) -> ttrpc::Result<ReopenLogResponse> {
        let id = &request.container_id;
        self.io(id)?.reopen().map_err(told(id))?;
        Ok(ReopenLogResponse::new())
    }

    async fn attach(&self, request: AttachRequest) -> ttrpc::Result<AttachResponse> {
        let id = &request.container_id;
        Ok(attach(&self.io(id)?, &request, &self.sockets).map_err(told(id))?)
    }

    /// A container's exit is told only after its output is drained, so that is what to wait for.
    async fn drained(&self, request: DrainedRequest) -> ttrpc::Result<DrainedResponse> {
        self.pod.container(&request.container_id)?.init.stopped().await;
        Ok(DrainedResponse::new())
    }
}
