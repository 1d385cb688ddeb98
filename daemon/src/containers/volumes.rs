// SPDX-License-Identifier: Apache-2.0
//! Image volumes: an image's files, mounted read-only into a container.

use std::path::{Path, PathBuf};

use crisp_words::ContainerId;

use super::spec::{ContainerConfig, ImageRequest, MountSource};
use crate::{
    files,
    pods::{
        context::Context,
        error::{FaultKind, PodError},
    },
};

/// An image volume that is mounted on the host, ready to be bound into the container.
#[derive(Debug, Clone)]
pub struct Volume {
    /// Where in the container.
    pub container_path: PathBuf,
    /// Where on the host.
    pub host_path: PathBuf,
    /// Id of the image.
    pub image_id: String,
}

/// Mounts the image volumes that a container asks for.
///
/// # Errors
/// [`PodError`] of kind [`FaultKind::ImageVolume`]; what was mounted before is undone by
/// [`unmount`].
pub async fn mount(
    context: &Context,
    id: &ContainerId,
    config: &ContainerConfig,
) -> Result<Vec<Volume>, PodError> {
    let mut volumes = Vec::new();
    for mount in &config.mounts {
        if let MountSource::Image { image, sub_path } = &mount.source {
            let target = directory(context, id).join(volumes.len().to_string());
            let image_id = mount_one(context, id, image, sub_path, &target).await?;
            volumes.push(Volume {
                container_path: mount.container_path.clone(),
                host_path: target,
                image_id,
            });
        }
    }
    Ok(volumes)
}

fn directory(context: &Context, id: &ContainerId) -> PathBuf {
    context.layout.container(id).join("volumes")
}

async fn mount_one(
    context: &Context,
    id: &ContainerId,
    image: &ImageRequest,
    sub_path: &str,
    target: &Path,
) -> Result<String, PodError> {
    let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
        let step = format!("image volume {} of container {id}", image.image);
        PodError::step(step, FaultKind::ImageVolume, e)
    };
    let found = context.images.resolve(&image.image).map_err(|e| failed(e.into()))?;
    let above = target.parent().unwrap_or(target);
    files::make_dir(above, 0o711).map_err(|e| failed(e.into()))?;
    let sub_path = Some(Path::new(sub_path)).filter(|path| !path.as_os_str().is_empty());
    context
        .rootfs
        .mount_image(id, &found.id, sub_path, target.to_owned())
        .await
        .map_err(|e| failed(e.into()))?;
    Ok(found.id.to_string())
}

/// Unmounts a container's image volumes.
///
/// # Errors
/// The first [`PodError`]; the others were tried.
pub async fn unmount(context: &Context, id: &ContainerId) -> Result<(), PodError> {
    let Ok(entries) = std::fs::read_dir(directory(context, id)) else { return Ok(()) };
    let mut first = Ok(());
    for entry in entries.flatten() {
        let path = entry.path();
        let done = context.rootfs.unmount(path.clone()).await.map_err(|e| {
            PodError::step(format!("unmount {}", path.display()), FaultKind::Internal, e)
        });
        first = first.and(done);
    }
    first
}
