// SPDX-License-Identifier: Apache-2.0
//! An image, or a part of it, as a read-only volume.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
    mount::{OpenTreeFlags, UnmountFlags},
};

use super::{open_path, overlay};
use crate::images::{ImageError, ImageId, Store};

/// Mounts `lowers` (highest first) or `sub_path` in them on `target`.
pub(super) fn mount_image(
    store: &Store,
    image: &ImageId,
    lowers: &[PathBuf],
    sub_path: Option<&Path>,
    target: &Path,
) -> Result<(), ImageError> {
    // Without a writable layer overlayfs wants two, and whiteouts in the lowest one would show.
    let empty = store.layers_dir().join(".empty");
    for dir in [&empty, &empty.join("0"), &empty.join("1")] {
        make_dir(dir)?;
    }
    let mut lowers = lowers.to_vec();
    lowers.push(empty.join("0"));
    if lowers.len() == 1 {
        lowers.push(empty.join("1"));
    }
    let layers = overlay::Layers { lowers: &lowers, writable: None };
    let Some(sub_path) = sub_path.filter(|path| !path.as_os_str().is_empty()) else {
        make_dirs(target)?;
        return overlay::mount(&layers, target);
    };
    let whole = Scratch::new(target)?;
    overlay::mount(&layers, &whole.dir)?;
    let part = open_part(image, &whole.dir, sub_path)?;
    make_target_like(&part, target)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = rustix::mount::open_tree(part.as_fd(), "", flags)
        .map_err(|error| ImageError::host("clone mount for", target)(error.into()))?;
    overlay::attach(&tree, target)
}

/// A place to mount the whole while a part of it is picked out. Undone when dropped.
struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    fn new(target: &Path) -> Result<Self, ImageError> {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(".whole");
        let dir = target.with_file_name(name);
        make_dirs(&dir)?;
        Ok(Self { dir })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.dir, UnmountFlags::DETACH);
        if let Err(error) = std::fs::remove_dir(&self.dir) {
            tracing::warn!(path = %self.dir.display(), %error, "a scratch mount point stays");
        }
    }
}

fn open_part(image: &ImageId, whole: &Path, sub_path: &Path) -> Result<OwnedFd, ImageError> {
    let bad = |reason: &str| ImageError::SubPath {
        image: image.to_string(),
        path: sub_path.display().to_string(),
        reason: reason.to_owned(),
    };
    if sub_path.components().any(|part| part == std::path::Component::ParentDir) {
        return Err(bad("it contains '..'"));
    }
    let root = open_path(whole)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let part =
        rustix::fs::openat2(&root, sub_path, flags, Mode::empty(), resolve).map_err(|error| {
            match error {
                Errno::NOENT => bad("it does not exist"),
                Errno::NOTDIR => bad("a part of it is no directory"),
                error => bad(&error.to_string()),
            }
        })?;
    match file_type(&part, sub_path)? {
        FileType::Directory | FileType::RegularFile => Ok(part),
        _ => Err(bad("it is neither directory nor file")),
    }
}

fn file_type(fd: &OwnedFd, path: &Path) -> Result<FileType, ImageError> {
    rustix::fs::fstat(fd)
        .map(|stat| FileType::from_raw_mode(stat.st_mode))
        .map_err(|error| ImageError::host("look at", path)(error.into()))
}

/// A directory is mounted on a directory, a file on a file.
fn make_target_like(part: &OwnedFd, target: &Path) -> Result<(), ImageError> {
    if file_type(part, target)? == FileType::Directory {
        return make_dirs(target);
    }
    if let Some(parent) = target.parent() {
        make_dirs(parent)?;
    }
    std::fs::File::create(target).map(drop).map_err(ImageError::host("make", target))
}

fn make_dirs(path: &Path) -> Result<(), ImageError> {
    std::fs::create_dir_all(path).map_err(ImageError::host("make directory", path))
}

fn make_dir(path: &Path) -> Result<(), ImageError> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(ImageError::host("make directory", path)(error))
        }
        _ => Ok(()),
    }
}
