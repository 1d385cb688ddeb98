// SPDX-License-Identifier: Apache-2.0
//! A pod under test.

use anyhow::{Context as _, Result};
use crisp_cri::*;

use crate::container::{Container, IDLE};
use crate::cri::{CallError, Cri};
use crate::edit::EditContainer as _;
use crate::fixture::{Test, image_spec};
use crate::images;

/// A pod that was run.
#[derive(Clone)]
pub struct Pod {
    /// Its id.
    pub id: String,
    /// The config it was run with.
    pub config: PodSandboxConfig,
    /// The case it belongs to.
    pub test: Test,
}

impl Pod {
    fn cri(&self) -> &Cri {
        self.test.cri()
    }

    /// PodSandboxStatus without its wrapper.
    pub async fn status(&self) -> Result<PodSandboxStatus> {
        self.full_status().await?.status.context("PodSandboxStatus: status is unset")
    }

    /// PodSandboxStatus.
    pub async fn full_status(&self) -> Result<PodSandboxStatusResponse, CallError> {
        let request =
            PodSandboxStatusRequest { pod_sandbox_id: self.id.clone(), ..Default::default() };
        self.cri().pod_sandbox_status(request).await
    }

    /// The pod's primary address.
    pub async fn ip(&self) -> Result<String> {
        let network = self.status().await?.network.context("PodSandboxStatus: no network")?;
        anyhow::ensure!(!network.ip.is_empty(), "PodSandboxStatus.network.ip is empty");
        Ok(network.ip)
    }

    /// StopPodSandbox.
    pub async fn stop(&self) -> Result<(), CallError> {
        let request = StopPodSandboxRequest { pod_sandbox_id: self.id.clone() };
        self.cri().stop_pod_sandbox(request).await.map(drop)
    }

    /// RemovePodSandbox.
    pub async fn remove(&self) -> Result<(), CallError> {
        let request = RemovePodSandboxRequest { pod_sandbox_id: self.id.clone() };
        self.cri().remove_pod_sandbox(request).await.map(drop)
    }

    /// The entry of this pod in ListPodSandbox.
    pub async fn listed(&self) -> Result<Option<PodSandbox>, CallError> {
        let filter = PodSandboxFilter { id: self.id.clone(), ..Default::default() };
        let request = ListPodSandboxRequest { filter: Some(filter) };
        Ok(self.cri().list_pod_sandbox(request).await?.items.pop())
    }

    /// The containers of this pod in ListContainers.
    pub async fn containers(&self) -> Result<Vec<crisp_cri::Container>, CallError> {
        let filter = ContainerFilter { pod_sandbox_id: self.id.clone(), ..Default::default() };
        let request = ListContainersRequest { filter: Some(filter) };
        Ok(self.cri().list_containers(request).await?.containers)
    }

    /// A busybox that sleeps, with a log.
    pub fn container_config(&self) -> ContainerConfig {
        let name = self.test.unique("ctr");
        let mut config = ContainerConfig {
            log_path: format!("{name}.log"),
            metadata: Some(ContainerMetadata { name, attempt: 0 }),
            image: Some(ImageSpec {
                user_specified_image: images::BUSYBOX.to_owned(),
                ..image_spec(images::BUSYBOX)
            }),
            linux: Some(LinuxContainerConfig::default()),
            ..Default::default()
        };
        config.command(IDLE);
        config
    }

    /// Creates a container of exactly this config; its image is pulled if it is missing.
    pub async fn create_exactly(&self, config: ContainerConfig) -> Result<Container, CallError> {
        let image = config.image.clone().unwrap_or_default().image;
        if image.contains('/') {
            self.test.ensure_image(&image).await?;
        }
        self.create_unpulled(config).await
    }

    /// Creates a container of exactly this config; its image must be there.
    pub async fn create_unpulled(&self, config: ContainerConfig) -> Result<Container, CallError> {
        let request = CreateContainerRequest {
            pod_sandbox_id: self.id.clone(),
            config: Some(config.clone()),
            sandbox_config: Some(self.config.clone()),
        };
        let id = self.cri().create_container(request).await?.container_id;
        let container = Container { id, config, pod: self.clone() };
        let name = container.name();
        self.test.remove_container_later(&container.id, &name, container.log_file());
        Ok(container)
    }

    /// Creates a container after `edit` changed its config.
    pub async fn create(
        &self,
        edit: impl FnOnce(&mut ContainerConfig),
    ) -> Result<Container, CallError> {
        let mut config = self.container_config();
        edit(&mut config);
        self.create_exactly(config).await
    }

    /// Creates and starts a container after `edit` changed its config.
    pub async fn start(
        &self,
        edit: impl FnOnce(&mut ContainerConfig),
    ) -> Result<Container, CallError> {
        let container = self.create(edit).await?;
        container.start().await?;
        Ok(container)
    }

    /// Starts a container that sleeps.
    pub async fn idle(&self) -> Result<Container, CallError> {
        self.start(|_| ()).await
    }

    /// Starts a container that runs a shell script.
    pub async fn script(&self, script: &str) -> Result<Container, CallError> {
        self.start(|c| c.script(script)).await
    }
}
