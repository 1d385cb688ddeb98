// SPDX-License-Identifier: Apache-2.0
//! Pod I/O: logs, attach, drained.

use std::sync::Arc;

use async_trait::async_trait;
use crisp_podio::{
    AttachRequest, AttachResponse, DrainedRequest, DrainedResponse, PodIo, ReopenLogRequest,
    ReopenLogResponse,
};

use crate::pod::Pod;

pub(super) struct PodIoService {
    pod: Arc<Pod>,
}

impl PodIoService {
    pub(super) fn new(pod: Arc<Pod>) -> Self {
        Self { pod }
    }
}

#[async_trait]
impl PodIo for PodIoService {
    async fn reopen_log(&self, request: ReopenLogRequest) -> ttrpc::Result<ReopenLogResponse> {
        self.pod.container(&request.container_id)?;
        Ok(ReopenLogResponse::new())
    }

    async fn attach(&self, request: AttachRequest) -> ttrpc::Result<AttachResponse> {
        self.pod.container(&request.container_id)?;
        Err(crate::container::ContainerError::Unsupported("attaching").into())
    }

    async fn drained(&self, request: DrainedRequest) -> ttrpc::Result<DrainedResponse> {
        let container = self.pod.container(&request.container_id)?;
        if let Some(io) = container.init.io() {
            io.drained().await;
        }
        Ok(DrainedResponse::new())
    }
}
