// SPDX-License-Identifier: Apache-2.0
//! Completes a layer that leans on the layers below it: directories it uses without describing
//! them, and hard links to files it does not bring.

use std::{
    fs::File,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags},
    io::Errno,
};

use super::{
    Unpacked,
    error::UnpackError,
    name::Place,
    tree::{open_child, open_inside},
};

const CAPABILITY: &str = "security.capability";

/// Fills what `unpacked` left open in `layer`, from `below` (highest first).
pub(crate) fn inherit(
    unpacked: &Unpacked,
    layer: &OwnedFd,
    below: &[OwnedFd],
) -> Result<(), UnpackError> {
    for (name, target) in &unpacked.links_below {
        copy_up(layer, name, target, below)?;
    }
    // Deepest first, so that a parent's time is set after its children are done.
    for path in unpacked.undescribed.iter().rev() {
        copy_dir_meta(layer, path, below)?;
    }
    Ok(())
}

fn copy_dir_meta(layer: &OwnedFd, path: &Path, below: &[OwnedFd]) -> Result<(), UnpackError> {
    let bytes = path.as_os_str().as_bytes();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let Some(origin) = below.iter().find_map(|fd| open_inside(fd.as_fd(), bytes, flags).ok())
    else {
        return Ok(());
    };
    let stat = rustix::fs::fstat(&origin).map_err(UnpackError::host("look at", bytes))?;
    let dir = open_inside(layer.as_fd(), bytes, flags)
        .map_err(UnpackError::host("open directory", bytes))?;
    dress_like(&dir, &stat, bytes)
}

fn dress_like(fd: &OwnedFd, stat: &Stat, path: &[u8]) -> Result<(), UnpackError> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(fd, Some(uid), Some(gid))
        .map_err(UnpackError::host("set owner of", path))?;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(stat.st_mode & 0o7777))
        .map_err(UnpackError::host("set mode of", path))?;
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec.cast_signed() };
    rustix::fs::futimens(fd, &Timestamps { last_access: time, last_modification: time })
        .map_err(UnpackError::host("set time of", path))
}

fn copy_up(
    layer: &OwnedFd,
    name: &Path,
    target: &Path,
    below: &[OwnedFd],
) -> Result<(), UnpackError> {
    let (path, target) = (name.as_os_str().as_bytes(), target.as_os_str().as_bytes());
    let missing = || {
        UnpackError::refused(
            path,
            format!("its hard link target {:?} is in no layer", String::from_utf8_lossy(target)),
        )
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let origin = below
        .iter()
        .find_map(|fd| open_inside(fd.as_fd(), target, flags).ok())
        .ok_or_else(missing)?;
    let stat = rustix::fs::fstat(&origin).map_err(UnpackError::host("look at", path))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(missing());
    }
    let place = Place::of(path).ok_or_else(missing)?;
    let parent = open_inside(layer.as_fd(), &place.parent, OFlags::RDONLY | OFlags::DIRECTORY)
        .map_err(UnpackError::host("open directory", path))?;
    match rustix::fs::unlinkat(
        &parent,
        Path::new(std::ffi::OsStr::from_bytes(&place.name)),
        AtFlags::empty(),
    ) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(UnpackError::host("replace", path)(error)),
    }
    let create =
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd =
        rustix::fs::openat(&parent, std::ffi::OsStr::from_bytes(&place.name), create, Mode::RUSR)
            .map_err(UnpackError::host("make file", path))?;
    let mut copy = File::from(fd);
    let mut origin = File::from(origin);
    std::io::copy(&mut origin, &mut copy).map_err(UnpackError::host("write", path))?;
    let (copy, origin) = (OwnedFd::from(copy), OwnedFd::from(origin));
    dress_like(&copy, &stat, path)?;
    let mut value = [0; 64];
    if let Ok(length) = rustix::fs::fgetxattr(&origin, CAPABILITY, &mut value) {
        rustix::fs::fsetxattr(&copy, CAPABILITY, &value[..length], XattrFlags::empty())
            .map_err(UnpackError::host("set xattr of", path))?;
    }
    // The name is now this layer's own; a check that it is there costs nothing and finds races.
    open_child(&parent, &place, OFlags::PATH | OFlags::NOFOLLOW)
        .map(drop)
        .map_err(UnpackError::host("open", path))
}
