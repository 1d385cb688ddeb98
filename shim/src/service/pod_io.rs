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
    /// Where the sockets of attachments go: beside the server's own.
    sockets: PathBuf,
}

impl PodIoService {
    pub(super) fn new(pod: Arc<Pod>, socket: Option<&Path>) -> Self {
        let sockets = socket.and_then(Path::parent).unwrap_or(Path::new("/run")).to_owned();
        Self { pod, sockets }
    }

    fn io(&self, id: &str) -> Result<ContainerIo, ContainerError> {
        let io = self.pod.container(id)?.init.io();
        io.ok_or_else(|| ContainerError::NoContainer { id: id.to_owned() })
    }
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
        let to = AttachTo { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr };
        let id = &request.container_id;
        let socket = self.io(id)?.attach(to, &self.sockets).map_err(told(id))?;
        let socket = socket.to_string_lossy().into_owned();
        Ok(AttachResponse { socket, ..AttachResponse::default() })
    }

    /// A container's exit is told only after its output is drained, so that is what to wait for.
    async fn drained(&self, request: DrainedRequest) -> ttrpc::Result<DrainedResponse> {
        self.pod.container(&request.container_id)?.init.stopped().await;
        Ok(DrainedResponse::new())
    }
}
