// SPDX-License-Identifier: Apache-2.0
//! What a case holds: the client, a directory, names of its own, and a stack of undo steps that
//! runs however the case ends.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use crisp_cri::*;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::cgroup::PodCgroup;
use crate::cri::{CallError, Cri};
use crate::pod::Pod;
use crate::registry::Registry;
use crate::want::within;

/// What all cases of a run share.
#[derive(Debug)]
pub struct Suite {
    /// The client.
    pub cri: Cri,
    /// The runtime handler that pods ask for.
    pub handler: String,
    /// A registry with credentials, if there is one.
    pub auth_registry: Option<AuthRegistry>,
    /// How cgroup parents are written.
    pub cgroup_driver: CgroupDriver,
    /// The answer to Status at the start.
    pub status: StatusResponse,
    /// The busybox image's files, read out of a container once.
    pub base_layer: OnceCell<Vec<u8>>,
    /// Lets one case at a time pull a missing test image.
    pub pulling: tokio::sync::Mutex<()>,
}

/// A registry that demands a user and a password, and holds the test images under their usual
/// paths.
#[derive(Debug, Clone)]
pub struct AuthRegistry {
    /// `HOST` or `HOST:PORT`.
    pub host: String,
    /// Who may read there.
    pub user: String,
    /// That user's password.
    pub password: String,
}

/// One step back. Steps run newest first.
enum Undo {
    Pod(String),
    Container(String),
    Image(String),
    Unmount(PathBuf),
    Cgroup(PodCgroup),
}

/// The hands of one case. Clones share everything.
#[derive(Clone)]
pub struct Test(Arc<Inner>);

struct Inner {
    suite: Arc<Suite>,
    name: String,
    dir: TempDir,
    counter: AtomicU32,
    undo: Mutex<Vec<Undo>>,
    logs: Mutex<Vec<(String, PathBuf)>>,
}

impl Test {
    /// Makes the hands of one case of `suite`.
    pub fn new(suite: Arc<Suite>) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("crisp-conformance-")
            .permissions(Permissions::from_mode(0o755))
            .tempdir()
            .context("cannot make a directory for the case")?;
        let name = dir.path().file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        Ok(Self(Arc::new(Inner {
            suite,
            name,
            dir,
            counter: AtomicU32::new(0),
            undo: Mutex::default(),
            logs: Mutex::default(),
        })))
    }

    /// The client.
    pub fn cri(&self) -> &Cri {
        &self.0.suite.cri
    }

    /// What all cases share.
    pub fn suite(&self) -> &Arc<Suite> {
        &self.0.suite
    }

    /// A directory of the case's own, gone with it.
    pub fn dir(&self) -> &Path {
        self.0.dir.path()
    }

    /// A directory `name` in [`Test::dir`].
    pub fn make_dir(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir().join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {path:?}"))?;
        Ok(path)
    }

    /// A file in [`Test::dir`] with `content`.
    pub fn make_file(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.dir().join(name);
        std::fs::write(&path, content).with_context(|| format!("cannot write {path:?}"))?;
        Ok(path)
    }

    /// A name no other case has; begins with `what`.
    pub fn unique(&self, what: &str) -> String {
        let number = self.0.counter.fetch_add(1, Ordering::Relaxed);
        format!("{what}-{}-{number}", self.0.name)
    }

    /// The features of the handler the run asks for.
    pub fn handler_features(&self) -> RuntimeHandlerFeatures {
        let suite = self.suite();
        let handlers = &suite.status.runtime_handlers;
        handlers
            .iter()
            .find(|h| h.name == suite.handler)
            .and_then(|h| h.features)
            .unwrap_or_default()
    }

    /// The features of the runtime as a whole.
    pub fn features(&self) -> RuntimeFeatures {
        self.suite().status.features.unwrap_or_default()
    }

    /// The cgroup parent for pods: none under cgroupfs, a slice under systemd.
    fn cgroup_parent(&self) -> String {
        match self.suite().cgroup_driver {
            CgroupDriver::Cgroupfs => String::new(),
            CgroupDriver::Systemd => "/test.slice".to_owned(),
        }
    }

    /// A pod config that asks for nothing special: all security settings absent.
    pub fn pod_config(&self) -> Result<PodSandboxConfig> {
        let name = self.unique("pod");
        let logs = self.make_dir(&format!("logs/{name}"))?;
        Ok(PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                uid: format!("uid-{name}"),
                namespace: format!("ns-{}", self.0.name),
                name,
                attempt: 0,
            }),
            log_directory: logs.display().to_string(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: self.cgroup_parent(),
                ..Default::default()
            }),
            ..Default::default()
        })
    }

    /// Runs a pod that asks for nothing special.
    pub async fn pod(&self) -> Result<Pod> {
        self.pod_with(|_| ()).await
    }

    /// Runs a pod after `edit` changed its config.
    pub async fn pod_with(&self, edit: impl FnOnce(&mut PodSandboxConfig)) -> Result<Pod> {
        let mut config = self.pod_config()?;
        edit(&mut config);
        Ok(self.run_pod(config).await?)
    }

    /// A cgroup to run a pod in, as a kubelet makes one; none where systemd makes them.
    pub fn pod_cgroup(&self) -> Result<Option<PodCgroup>> {
        if self.suite().cgroup_driver == CgroupDriver::Systemd {
            return Ok(None);
        }
        let cgroup = PodCgroup::make(&self.unique("pod"))?;
        self.push(Undo::Cgroup(cgroup.clone()));
        Ok(Some(cgroup))
    }

    /// Runs a pod in a cgroup of its own, after `edit` changed its config. Only of such a pod can
    /// every runtime tell statistics.
    pub async fn pod_in_cgroup(&self, edit: impl FnOnce(&mut PodSandboxConfig)) -> Result<Pod> {
        let cgroup = self.pod_cgroup()?;
        self.pod_with(|p| {
            if let (Some(cgroup), Some(linux)) = (cgroup, &mut p.linux) {
                linux.cgroup_parent = cgroup.path();
            }
            edit(p);
        })
        .await
    }

    /// Runs a pod of exactly this config.
    pub async fn run_pod(&self, config: PodSandboxConfig) -> Result<Pod, CallError> {
        self.run_pod_by(config, &self.suite().handler.clone()).await
    }

    /// Runs a pod of exactly this config by a handler.
    pub async fn run_pod_by(
        &self,
        config: PodSandboxConfig,
        handler: &str,
    ) -> Result<Pod, CallError> {
        let request = RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: handler.to_owned(),
        };
        let id = self.cri().run_pod_sandbox(request).await?.pod_sandbox_id;
        self.push(Undo::Pod(id.clone()));
        Ok(Pod { id, config, test: self.clone() })
    }

    /// Makes sure that `image` is present, and gives its id.
    pub async fn ensure_image(&self, image: &str) -> Result<String, CallError> {
        let _one = self.suite().pulling.lock().await;
        match self.image_status(image).await? {
            Some(found) => Ok(found.id),
            None => self.pull(image).await,
        }
    }

    /// PullImage without credentials; gives the image's id.
    pub async fn pull(&self, image: &str) -> Result<String, CallError> {
        self.pull_as(image, None).await
    }

    /// PullImage; gives the image's id.
    pub async fn pull_as(
        &self,
        image: &str,
        auth: Option<AuthConfig>,
    ) -> Result<String, CallError> {
        let request =
            PullImageRequest { image: Some(image_spec(image)), auth, sandbox_config: None };
        Ok(self.cri().pull_image(request).await?.image_ref)
    }

    /// Pulls an image that is gone again after the case.
    pub async fn pull_for_now(&self, image: &str) -> Result<String, CallError> {
        self.remove_image_later(image);
        self.pull(image).await
    }

    /// ImageStatus; none if the image is not there.
    pub async fn image_status(&self, image: &str) -> Result<Option<Image>, CallError> {
        let request = ImageStatusRequest { image: Some(image_spec(image)), verbose: false };
        Ok(self.cri().image_status(request).await?.image)
    }

    /// ListImages without a filter.
    pub async fn images(&self) -> Result<Vec<Image>, CallError> {
        Ok(self.cri().list_images(ListImagesRequest::default()).await?.images)
    }

    /// RemoveImage.
    pub async fn remove_image(&self, image: &str) -> Result<(), CallError> {
        let request = RemoveImageRequest { image: Some(image_spec(image)) };
        self.cri().remove_image(request).await.map(drop)
    }

    /// A registry in this process, on a loopback port of its own.
    pub async fn registry(&self) -> Result<Registry> {
        Registry::start(self.clone()).await
    }

    /// The container is removed after the case, and its log shown if the case fails.
    pub fn remove_container_later(&self, id: &str, name: &str, log: Option<PathBuf>) {
        self.push(Undo::Container(id.to_owned()));
        if let Some(log) = log {
            let mut logs = self.0.logs.lock().unwrap_or_else(PoisonError::into_inner);
            logs.push((name.to_owned(), log));
        }
    }

    /// The image is removed after the case.
    pub fn remove_image_later(&self, image: &str) {
        self.push(Undo::Image(image.to_owned()));
    }

    /// The mount is undone after the case.
    pub fn unmount_later(&self, path: &Path) {
        self.push(Undo::Unmount(path.to_owned()));
    }

    fn push(&self, step: Undo) {
        self.0.undo.lock().unwrap_or_else(PoisonError::into_inner).push(step);
    }

    /// Undoes what the case did, newest first, to the end. Gives what could not be undone.
    pub async fn clean_up(&self) -> Vec<String> {
        let mut failures = Vec::new();
        loop {
            let step = self.0.undo.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(step) = step else { return failures };
            if let Err(error) = self.undo(step).await {
                failures.push(format!("clean-up: {error:#}"));
            }
        }
    }

    async fn undo(&self, step: Undo) -> Result<()> {
        let cri = self.cri();
        match step {
            Undo::Container(id) => self.remove_container(id).await?,
            Undo::Pod(pod_sandbox_id) => {
                let id = pod_sandbox_id.clone();
                cri.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: id }).await?;
                cri.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id }).await?;
            }
            Undo::Image(image) => self.remove_image(&image).await?,
            Undo::Cgroup(cgroup) => cgroup.remove().await?,
            Undo::Unmount(path) => {
                let flags = nix::mount::MntFlags::MNT_DETACH;
                nix::mount::umount2(&path, flags).with_context(|| format!("umount {path:?}"))?;
            }
        }
        Ok(())
    }

    /// As kubelets do it: what runs is stopped, and what is over is removed. containerd may answer
    /// to a stop before it has noted the exit, and refuses to remove in that moment.
    async fn remove_container(&self, container_id: String) -> Result<()> {
        let cri = self.cri();
        let id = container_id.clone();
        cri.stop_container(StopContainerRequest { container_id: id, timeout: 0 }).await?;
        within(Duration::from_secs(10), "the exit of a stopped container", || async {
            let request =
                ContainerStatusRequest { container_id: container_id.clone(), verbose: false };
            let status = cri.container_status(request).await.ok().and_then(|r| r.status);
            let state = status.map_or(ContainerState::ContainerExited, |s| s.state());
            Ok(match state {
                ContainerState::ContainerRunning => Err("it is running".to_owned()),
                _ => Ok(()),
            })
        })
        .await?;
        cri.remove_container(RemoveContainerRequest { container_id }).await?;
        Ok(())
    }

    /// The last lines of the log of each container of the case.
    pub fn log_tails(&self) -> Vec<String> {
        let logs = self.0.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.iter().filter_map(|(name, path)| log_tail(name, path)).collect()
    }
}

fn log_tail(name: &str, path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).ok().filter(|b| !b.is_empty())?;
    let tail = &bytes[bytes.len().saturating_sub(2000)..];
    let text = String::from_utf8_lossy(tail);
    let lines: Vec<&str> = text.lines().rev().take(10).collect();
    let lines: Vec<String> = lines.iter().rev().map(|l| format!("    {l}")).collect();
    Some(format!("log of {name}:\n{}", lines.join("\n")))
}

/// An image spec by reference alone.
pub fn image_spec(image: &str) -> ImageSpec {
    ImageSpec { image: image.to_owned(), ..Default::default() }
}
