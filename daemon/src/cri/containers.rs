// SPDX-License-Identifier: Apache-2.0
//! Life and status of containers.

use std::{collections::HashMap, time::Duration};

use crisp_cri as v1;
use crisp_words::{ContainerId, bundle};
use serde_json::Value;
use tonic::Status;

use super::{
    Cri, show_container,
    status::refuse,
    translate::{container_config, resources},
};
use crate::{
    containers::reopen,
    server::{seen, seen_pod},
};

impl Cri {
    pub(super) async fn create(
        &self,
        request: v1::CreateContainerRequest,
    ) -> Result<v1::CreateContainerResponse, Status> {
        seen_pod(&request.pod_sandbox_id);
        let config = container_config(request.config).map_err(refuse)?;
        let made = self.node.create_container(&request.pod_sandbox_id, config).await;
        let container_id = made.map_err(refuse)?.to_string();
        seen(&container_id);
        Ok(v1::CreateContainerResponse { container_id })
    }

    pub(super) async fn start_container(
        &self,
        request: v1::StartContainerRequest,
    ) -> Result<v1::StartContainerResponse, Status> {
        seen(&request.container_id);
        self.node.start_container(&request.container_id).await.map_err(refuse)?;
        Ok(v1::StartContainerResponse {})
    }

    pub(super) async fn stop_container(
        &self,
        request: v1::StopContainerRequest,
    ) -> Result<v1::StopContainerResponse, Status> {
        seen(&request.container_id);
        // A time before now leaves none.
        let patience = Duration::from_secs(request.timeout.max(0).unsigned_abs());
        self.node.stop_container(&request.container_id, patience).await.map_err(refuse)?;
        Ok(v1::StopContainerResponse {})
    }

    pub(super) async fn remove(
        &self,
        request: v1::RemoveContainerRequest,
    ) -> Result<v1::RemoveContainerResponse, Status> {
        seen(&request.container_id);
        self.node.remove_container(&request.container_id).await.map_err(refuse)?;
        Ok(v1::RemoveContainerResponse {})
    }

    pub(super) async fn container_status(
        &self,
        request: v1::ContainerStatusRequest,
    ) -> Result<v1::ContainerStatusResponse, Status> {
        seen(&request.container_id);
        let (container, _) = self.node.container(&request.container_id).map_err(refuse)?;
        let info = if request.verbose {
            show_container::info(&container, self.oci_spec(&container.id).await)
        } else {
            HashMap::new()
        };
        Ok(v1::ContainerStatusResponse { status: Some(show_container::status(&container)), info })
    }

    /// The OCI configuration a container was made with, while its bundle is there.
    async fn oci_spec(&self, id: &ContainerId) -> Option<Value> {
        let path = self.node.context.layout.bundle(id).join(bundle::CONFIG);
        let text = tokio::fs::read(path).await.ok()?;
        serde_json::from_slice(&text).ok()
    }

    pub(super) async fn update_container(
        &self,
        request: v1::UpdateContainerResourcesRequest,
    ) -> Result<v1::UpdateContainerResourcesResponse, Status> {
        let id = &request.container_id;
        seen(id);
        match request.linux {
            Some(linux) => {
                self.node.update_container(id, resources(linux)).await.map_err(refuse)?;
            }
            // Nothing to change, but the container must be there all the same.
            None => drop(self.node.container(id).map_err(refuse)?),
        }
        Ok(v1::UpdateContainerResourcesResponse {})
    }

    pub(super) async fn reopen_log(
        &self,
        request: v1::ReopenContainerLogRequest,
    ) -> Result<v1::ReopenContainerLogResponse, Status> {
        seen(&request.container_id);
        reopen::reopen_log(&self.node.context, &request.container_id).await.map_err(refuse)?;
        Ok(v1::ReopenContainerLogResponse {})
    }
}
