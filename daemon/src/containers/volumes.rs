// SPDX-License-Identifier: Apache-2.0
//! Volumes that are mounted on the host first and bound into the container from there: an image's
//! files, and host paths whose owners are mapped into the pod's user namespace.

use std::path::{Path, PathBuf};

use crisp_words::ContainerId;

use super::spec::{ContainerConfig, ImageRequest, Mount, MountSource, Propagation};
use crate::{
    files,
    pods::{
        context::Context,
        error::{FaultKind, PodError},
        record::PodRecord,
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

/// Mounts the host paths that a container of a pod with a user namespace wants with the pod's
/// mapping, and answers with where each source is then. `sources` are those of the request's host
/// mounts, in its order.
///
/// Mounts that propagate are left to the OCI runtime: a mapped copy would not.
///
/// # Errors
/// [`PodError`] naming the source.
pub async fn map_owners(
    context: &Context,
    pod: &PodRecord,
    id: &ContainerId,
    mounts: &mut [Mount],
    sources: &mut [PathBuf],
) -> Result<(), PodError> {
    let Some(user) = &pod.config.namespaces.user else { return Ok(()) };
    let userns = context.layout.namespaces(&pod.id).join("user");
    let hosts = mounts.iter_mut().filter(|mount| matches!(mount.source, MountSource::Host(_)));
    for (number, (mount, source)) in hosts.zip(sources).enumerate() {
        let same = mount.uid_mappings == [user.uids] && mount.gid_mappings == [user.gids];
        if !same || mount.propagation != Propagation::Private {
            continue;
        }
        let step = || format!("volume {} of container {id}", source.display());
        let above = directory(context, id);
        files::make_dir(&above, 0o711)
            .map_err(|e| PodError::step(step(), FaultKind::Internal, e))?;
        let target = above.join(format!("mapped-{number}"));
        context
            .rootfs
            .mount_mapped(source.clone(), userns.clone(), target.clone())
            .await
            .map_err(|e| PodError::step(step(), FaultKind::Internal, e))?;
        *source = target;
        mount.uid_mappings.clear();
        mount.gid_mappings.clear();
    }
    Ok(())
}

/// Unmounts a container's volumes.
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
