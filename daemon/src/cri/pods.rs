// SPDX-License-Identifier: Apache-2.0
//! Life and status of pod sandboxes.

use std::collections::HashMap;

use crisp_cri as v1;
use tonic::Status;

use super::{
    Cri, show_container, show_pod,
    status::refuse,
    translate::{pod_config, resources},
};
use crate::{pods::clock, server::seen};

impl Cri {
    pub(super) async fn run_pod(
        &self,
        request: v1::RunPodSandboxRequest,
    ) -> Result<v1::RunPodSandboxResponse, Status> {
        let config = pod_config(request.config).map_err(refuse)?;
        let made = self.node.run_pod(config, &request.runtime_handler).await;
        let id = made.map_err(refuse)?.to_string();
        seen(&id);
        Ok(v1::RunPodSandboxResponse { pod_sandbox_id: id })
    }

    pub(super) async fn stop_pod(
        &self,
        request: v1::StopPodSandboxRequest,
    ) -> Result<v1::StopPodSandboxResponse, Status> {
        seen(&request.pod_sandbox_id);
        self.node.stop_pod(&request.pod_sandbox_id).await.map_err(refuse)?;
        Ok(v1::StopPodSandboxResponse {})
    }

    pub(super) async fn remove_pod(
        &self,
        request: v1::RemovePodSandboxRequest,
    ) -> Result<v1::RemovePodSandboxResponse, Status> {
        seen(&request.pod_sandbox_id);
        self.node.remove_pod(&request.pod_sandbox_id).await.map_err(refuse)?;
        Ok(v1::RemovePodSandboxResponse {})
    }

    pub(super) fn pod_status(
        &self,
        request: &v1::PodSandboxStatusRequest,
    ) -> Result<v1::PodSandboxStatusResponse, Status> {
        seen(&request.pod_sandbox_id);
        let view = self.node.pod(&request.pod_sandbox_id).map_err(refuse)?;
        let containers = view.containers.iter().filter(|c| c.is_visible());
        Ok(v1::PodSandboxStatusResponse {
            status: Some(show_pod::status(&view.pod)),
            info: if request.verbose { show_pod::info(&view.pod) } else { HashMap::new() },
            containers_statuses: containers.map(|c| show_container::status(c)).collect(),
            timestamp: clock::now_ns(),
        })
    }

    pub(super) async fn update_pod(
        &self,
        request: v1::UpdatePodSandboxResourcesRequest,
    ) -> Result<v1::UpdatePodSandboxResourcesResponse, Status> {
        let id = &request.pod_sandbox_id;
        seen(id);
        let (overhead, sum) = (request.overhead.map(resources), request.resources.map(resources));
        self.node.update_pod(id, overhead, sum).await.map_err(refuse)?;
        Ok(v1::UpdatePodSandboxResourcesResponse {})
    }
}
