// SPDX-License-Identifier: Apache-2.0
//! Life and status of pod sandboxes.

use std::{collections::HashMap, time::Duration};

use crisp_cri as v1;
use tonic::Status;

use super::{
    Cri, show_container, show_pod,
    status::refuse,
    translate::{pod_config, resources},
};
use crate::{
    pods::{clock, record::PodRecord},
    server::{seen, seen_pod},
    shims::TaskRef,
};

/// How long a shim may take to tell its version for a status.
const PING: Duration = Duration::from_secs(1);

impl Cri {
    pub(super) async fn run_pod(
        &self,
        request: v1::RunPodSandboxRequest,
    ) -> Result<v1::RunPodSandboxResponse, Status> {
        let config = pod_config(request.config).map_err(refuse)?;
        let named = &config.metadata;
        seen_pod(&format!("{}/{}", named.namespace, named.name));
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

    pub(super) async fn pod_status(
        &self,
        request: &v1::PodSandboxStatusRequest,
    ) -> Result<v1::PodSandboxStatusResponse, Status> {
        seen(&request.pod_sandbox_id);
        let view = self.node.pod(&request.pod_sandbox_id).map_err(refuse)?;
        let info = match request.verbose {
            true => self.pod_info(&view.pod).await,
            false => HashMap::new(),
        };
        let containers = view.containers.iter().filter(|c| c.is_visible());
        Ok(v1::PodSandboxStatusResponse {
            status: Some(show_pod::status(&view.pod)),
            info,
            containers_statuses: containers.map(|c| show_container::status(c)).collect(),
            timestamp: clock::now_ns(),
        })
    }

    /// What a verbose status adds. The shim is asked for its version, which tells whether it
    /// answers at all.
    async fn pod_info(&self, pod: &PodRecord) -> HashMap<String, String> {
        let context = &self.node.context;
        let open = context.progress.open();
        let stages: Vec<_> = open.iter().filter(|open| open.object == pod.id.as_str()).collect();
        let shim = context.index.pod(pod.id.as_str()).ok().and_then(|door| door.shim.clone());
        let version = match shim {
            None => Err("there is no connection to it".to_owned()),
            Some(shim) => {
                let asked = shim.client.connected(TaskRef::sandbox(&pod.id), PING);
                asked.await.map(|answer| answer.version).map_err(|error| error.to_string())
            }
        };
        show_pod::info(pod, &stages, version)
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
