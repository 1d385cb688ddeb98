// SPDX-License-Identifier: Apache-2.0
//! Root filesystems of containers: an image's layers below, a writable layer on top (overlayfs).
//!
//! Below the store's root, `containers/ID/{upper,work}` is a container's writable layer. It lives
//! as long as the container and no longer than the machine runs, so it is mounted `volatile`:
//! nothing in it is synced when it is unmounted.

mod idmap;
mod mapped;
mod overlay;
mod usage;
mod volume;

use std::{
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use crisp_words::ContainerId;
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    mount::UnmountFlags,
};

pub use idmap::{IdMapping, IdRange, kernel_maps_layers};
use usage::UsageCache;
pub use usage::WritableUsage;

use crate::images::{ImageError, ImageId, Images, LayerKey, Store, TopDir, blocking};

/// Handle to the root filesystems of this node. Cheap to clone.
#[derive(Clone)]
pub struct Rootfs {
    images: Images,
    /// `ROOT/containers`.
    dir: Arc<PathBuf>,
    usage: Arc<UsageCache>,
}

/// A root filesystem whose parts are in place and which can be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The writable layer.
    pub upper: PathBuf,
    /// Overlayfs's own scratch directory.
    pub work: PathBuf,
    /// Layer directories, highest first.
    pub lowers: Vec<PathBuf>,
    /// How owners are shown, for a pod with a user namespace of its own.
    pub idmap: Option<IdMapping>,
}

impl Rootfs {
    /// Opens the writable layers below `root` (the one of [`crate::images::ImagesConfig`]). Blocks.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn open(images: Images, root: &Path) -> Result<Self, ImageError> {
        let dir = root.join("containers");
        std::fs::create_dir_all(&dir).map_err(ImageError::host("make directory", &dir))?;
        Ok(Self { images, dir: Arc::new(dir), usage: Arc::default() })
    }

    /// Makes a writable layer for a container, and keeps the image's layers for it.
    ///
    /// # Errors
    /// The image is not here, the container has a root filesystem already, or the disk failed.
    /// Nothing is left behind then.
    pub async fn prepare(
        &self,
        container: &ContainerId,
        image: &ImageId,
        idmap: Option<IdMapping>,
    ) -> Result<Prepared, ImageError> {
        let (store, own) = (self.images.store().clone(), self.dir.join(container.as_str()));
        let (container, id) = (container.clone(), image.digest().clone());
        blocking("prepare rootfs", move || {
            std::fs::create_dir(&own).map_err(ImageError::host("make directory", &own))?;
            let prepared = store
                .hold(&container, &id)
                .and_then(|layers| lay_out(&store, &own, &layers, idmap));
            if prepared.is_err() {
                undo_prepare(&store, &own, &container);
            }
            prepared
        })
        .await
    }

    /// Mounts a prepared root filesystem on the directory `target`.
    ///
    /// # Errors
    /// The kernel refuses; nothing is mounted then.
    pub async fn mount(&self, prepared: Prepared, target: PathBuf) -> Result<(), ImageError> {
        blocking("mount rootfs", move || mount_prepared(&prepared, &target)).await
    }

    /// Takes away the mount on `target`, and what is mounted in it. Nothing mounted, or no such
    /// path, is no error.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn unmount(&self, target: PathBuf) -> Result<(), ImageError> {
        blocking("unmount", move || unmount(&target)).await
    }

    /// Deletes a container's writable layer and gives up its image layers. Unmount first. Nothing
    /// there is no error.
    ///
    /// # Errors
    /// The disk failed; what can be done is done all the same.
    pub async fn remove(&self, container: &ContainerId) -> Result<(), ImageError> {
        self.usage.forget(container);
        let (store, own) = (self.images.store().clone(), self.dir.join(container.as_str()));
        let container = container.clone();
        blocking("remove rootfs", move || {
            let removed = remove_dir(&own);
            store.release(&container)?;
            removed
        })
        .await
    }

    /// Containers that have a writable layer or hold image layers: whoever knows which containers
    /// exist removes the others after a restart.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub async fn known(&self) -> Result<Vec<ContainerId>, ImageError> {
        let (dir, images) = (Arc::clone(&self.dir), self.images.clone());
        blocking("list rootfs", move || {
            let mut known = images.holders();
            for entry in std::fs::read_dir(&*dir).map_err(ImageError::host("list", &*dir))? {
                let name = entry.map_err(ImageError::host("list", &*dir))?.file_name();
                known.extend(name.to_str().and_then(|name| ContainerId::new(name).ok()));
            }
            known.sort();
            known.dedup();
            Ok(known)
        })
        .await
    }

    /// What a container has written. The figure may be some seconds old (its time tells); a new
    /// one is then being made in the background, so the call costs next to nothing.
    ///
    /// # Errors
    /// The container has no writable layer.
    pub async fn usage(&self, container: &ContainerId) -> Result<WritableUsage, ImageError> {
        self.usage.get(container, self.upper(container)).await
    }

    /// Directory of a container's writable layer.
    #[must_use]
    pub fn upper(&self, container: &ContainerId) -> PathBuf {
        self.dir.join(container.as_str()).join("upper")
    }

    /// Mounts an image, or the directory or file `sub_path` in it, read-only on `target`, which
    /// is made; the image's layers are kept for the container until [`Rootfs::remove`]. `sub_path`
    /// is resolved as inside the image: no symlink leads out of it.
    ///
    /// # Errors
    /// The image is not here, [`ImageError::SubPath`] if there is no such path in it, or the
    /// kernel refuses. Nothing is mounted then.
    pub async fn mount_image(
        &self,
        container: &ContainerId,
        image: &ImageId,
        sub_path: Option<&Path>,
        target: PathBuf,
    ) -> Result<(), ImageError> {
        let (store, container, image) =
            (self.images.store().clone(), container.clone(), image.clone());
        let sub_path = sub_path.map(Path::to_owned);
        blocking("mount image", move || {
            let layers = store.hold(&container, image.digest())?;
            let lowers = lower_dirs(&store, &layers);
            volume::mount_image(&store, &image, &lowers, sub_path.as_deref(), &target)
        })
        .await
    }
}

/// Highest first.
fn lower_dirs(store: &Store, layers: &[LayerKey]) -> Vec<PathBuf> {
    layers.iter().rev().map(|key| store.diff_dir(key)).collect()
}

fn lay_out(
    store: &Store,
    own: &Path,
    layers: &[LayerKey],
    idmap: Option<IdMapping>,
) -> Result<Prepared, ImageError> {
    let (upper, work) = (own.join("upper"), own.join("work"));
    for dir in [&upper, &work] {
        std::fs::create_dir(dir).map_err(ImageError::host("make directory", dir))?;
    }
    // The top directory of the whole is that of the writable layer, so it has to look like the
    // highest one that a layer describes.
    let top = layers.iter().rev().find_map(|key| store.layer_info(key).and_then(|info| info.top));
    let top = top.unwrap_or(TopDir { uid: 0, gid: 0, mode: 0o755 });
    dress_top(&upper, top, idmap.as_ref())?;
    Ok(Prepared { upper, work, lowers: lower_dirs(store, layers), idmap })
}

fn dress_top(upper: &Path, top: TopDir, idmap: Option<&IdMapping>) -> Result<(), ImageError> {
    let (uid, gid) = match idmap {
        Some(idmap) => (idmap.host_uid(top.uid)?, idmap.host_gid(top.gid)?),
        None => (top.uid, top.gid),
    };
    std::os::unix::fs::chown(upper, Some(uid), Some(gid))
        .map_err(ImageError::host("set owner of", upper))?;
    std::fs::set_permissions(upper, std::os::unix::fs::PermissionsExt::from_mode(top.mode))
        .map_err(ImageError::host("set mode of", upper))
}

fn undo_prepare(store: &Store, own: &Path, container: &ContainerId) {
    if let Err(error) = remove_dir(own) {
        tracing::warn!(%container, %error, "a writable layer stays behind");
    }
    if let Err(error) = store.release(container) {
        tracing::warn!(%container, %error, "image layers stay held");
    }
}

fn remove_dir(own: &Path) -> Result<(), ImageError> {
    match std::fs::remove_dir_all(own) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ImageError::host("delete", own)(error))
        }
        _ => Ok(()),
    }
}

fn mount_prepared(prepared: &Prepared, target: &Path) -> Result<(), ImageError> {
    // Overlayfs wants at least one lower layer, also for an image without any.
    let empty;
    let lowers = if prepared.lowers.is_empty() {
        empty = [prepared.work.with_file_name("empty")];
        std::fs::create_dir_all(&empty[0])
            .map_err(ImageError::host("make directory", &empty[0]))?;
        &empty[..]
    } else {
        &prepared.lowers[..]
    };
    let writable = Some((prepared.upper.as_path(), prepared.work.as_path()));
    match &prepared.idmap {
        None => overlay::mount(&overlay::Layers { lowers, writable }, target),
        Some(idmap) => {
            let scratch = prepared.work.with_file_name("mapped");
            let mapped = idmap::map_layers(lowers, idmap, &scratch)?;
            overlay::mount(&overlay::Layers { lowers: mapped.lowers(), writable }, target)
        }
    }
}

fn unmount(target: &Path) -> Result<(), ImageError> {
    loop {
        match rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // A mount may lie on another: go on until there is none.
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(error) => return Err(ImageError::host("unmount", target)(error.into())),
        }
    }
}

fn open_path(path: &Path) -> Result<OwnedFd, ImageError> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| ImageError::host("open", path)(error.into()))
}

/// A short name of an open file, for interfaces that take only so many bytes.
fn short_name(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

#[cfg(test)]
mod tests;
