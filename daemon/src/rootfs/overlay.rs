// SPDX-License-Identifier: Apache-2.0
//! One overlay mount.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use rustix::{
    fs::CWD,
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags,
        MoveMountFlags,
    },
};

use super::{open_path, short_name};
use crate::{images::ImageError, sys::mount::make_private};

/// fsconfig(2) copies at most this much of a string.
const FSCONFIG_MAX: usize = 255;
/// Whether the kernel takes layers one by one (`lowerdir+`, 6.7).
static ONE_BY_ONE: OnceLock<bool> = OnceLock::new();

/// What to stack.
pub(super) struct Layers<'a> {
    /// Highest first; at least one, at least two without a writable layer.
    pub(super) lowers: &'a [PathBuf],
    /// Upper and work directory.
    pub(super) writable: Option<(&'a Path, &'a Path)>,
}

/// Mounts `layers` on `target`, privately.
pub(super) fn mount(layers: &Layers<'_>, target: &Path) -> Result<(), ImageError> {
    if takes_layers_one_by_one() {
        let mount = make(layers, target)?;
        return attach(&mount, target);
    }
    mount_at_once(layers, target)
}

/// Attaches a detached mount to `target`.
pub(super) fn attach(mount: &OwnedFd, target: &Path) -> Result<(), ImageError> {
    let failed = |error: std::io::Error| ImageError::host("mount on", target)(error);
    make_private(mount).map_err(failed)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", CWD, target, flags).map_err(|e| failed(e.into()))?;
    // The place may be on a shared mount, and then what is attached to it becomes shared.
    make_private(mount).map_err(failed)
}

fn takes_layers_one_by_one() -> bool {
    *ONE_BY_ONE.get_or_init(|| {
        let Ok(fs) = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) else {
            return false;
        };
        let takes = |key| rustix::mount::fsconfig_set_string(fs.as_fd(), key, "/").is_ok();
        // A kernel whose overlayfs does not know this interface yet (before 6.5) collects every
        // option unread, and refuses them all together in the end.
        takes("lowerdir+") && !takes("crisp-knows-no-such-option")
    })
}

/// Makes the mount without attaching it anywhere.
fn make(layers: &Layers<'_>, target: &Path) -> Result<OwnedFd, ImageError> {
    let failed = |error: Errno| ImageError::host("make overlay for", target)(error.into());
    let fs = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed)?;
    let mut kept_open = Vec::new();
    let mut set = |key: &str, path: &Path| -> Result<(), ImageError> {
        if path.as_os_str().len() <= FSCONFIG_MAX {
            return rustix::mount::fsconfig_set_string(fs.as_fd(), key, path)
                .map_err(|error| ImageError::host("add overlay layer", path)(error.into()));
        }
        let fd = open_path(path)?;
        let result = rustix::mount::fsconfig_set_string(fs.as_fd(), key, short_name(&fd));
        kept_open.push(fd);
        result.map_err(|error| ImageError::host("add overlay layer", path)(error.into()))
    };
    for lower in layers.lowers {
        set("lowerdir+", lower)?;
    }
    if let Some((upper, work)) = layers.writable {
        set("upperdir", upper)?;
        set("workdir", work)?;
        rustix::mount::fsconfig_set_flag(fs.as_fd(), "volatile").map_err(failed)?;
    }
    for (key, value) in OPTIONS {
        rustix::mount::fsconfig_set_string(fs.as_fd(), key, value).map_err(failed)?;
    }
    rustix::mount::fsconfig_set_string(fs.as_fd(), "source", "crisp").map_err(failed)?;
    rustix::mount::fsconfig_create(fs.as_fd()).map_err(|error| refused(&fs, target, error))?;
    let attributes = match layers.writable {
        Some(_) => MountAttrFlags::empty(),
        None => MountAttrFlags::MOUNT_ATTR_RDONLY,
    };
    rustix::mount::fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(failed)
}

/// Layers are shared by many mounts, which an index of inodes does not allow; metadata-only copies
/// would make a writable layer depend on more than its own files.
const OPTIONS: [(&str, &str); 2] = [("index", "off"), ("metacopy", "off")];

/// The kernel's own words are in the context's log.
fn refused(fs: &OwnedFd, target: &Path, error: Errno) -> ImageError {
    let mut log = [0; 512];
    let words = match rustix::io::read(fs, &mut log) {
        Ok(length) => String::from_utf8_lossy(&log[..length]).trim().to_owned(),
        Err(_) => String::new(),
    };
    let source = std::io::Error::new(
        std::io::Error::from(error).kind(),
        if words.is_empty() { error.to_string() } else { format!("{error}: {words}") },
    );
    ImageError::host("make overlay for", target)(source)
}

/// For kernels before 6.7: all options in one page, with short names for the layers.
fn mount_at_once(layers: &Layers<'_>, target: &Path) -> Result<(), ImageError> {
    let lowers: Vec<OwnedFd> =
        layers.lowers.iter().map(|path| open_path(path)).collect::<Result<_, _>>()?;
    let names: Vec<String> = lowers.iter().map(short_name).collect();
    let mut options = format!("lowerdir={}", names.join(":"));
    let mut writable = Vec::new();
    if let Some((upper, work)) = layers.writable {
        for (key, path) in [("upperdir", upper), ("workdir", work)] {
            let fd = open_path(path)?;
            options.push_str(&format!(",{key}={}", short_name(&fd)));
            writable.push(fd);
        }
        options.push_str(",volatile");
    }
    for (key, value) in OPTIONS {
        options.push_str(&format!(",{key}={value}"));
    }
    let failed = |error: std::io::Error| ImageError::host("mount overlay on", target)(error);
    let options = std::ffi::CString::new(options).map_err(|error| failed(error.into()))?;
    let flags = match layers.writable {
        Some(_) => MountFlags::empty(),
        None => MountFlags::RDONLY,
    };
    rustix::mount::mount("crisp", target, "overlay", flags, options.as_c_str())
        .map_err(|error| failed(error.into()))?;
    let private = MountPropagationFlags::PRIVATE;
    rustix::mount::mount_change(target, private).map_err(|error| {
        let _ = rustix::mount::unmount(target, rustix::mount::UnmountFlags::DETACH);
        failed(error.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_mount_show_the_same_tree() {
        if !rustix::process::geteuid().is_root() {
            panic!("needs root to mount");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["low", "high", "upper", "work", "target"] {
            std::fs::create_dir(path(name)).unwrap();
        }
        std::fs::write(path("low").join("a"), "low").unwrap();
        std::fs::write(path("high").join("a"), "high").unwrap();
        let lowers = [path("high"), path("low")];
        let (upper, work) = (path("upper"), path("work"));
        type Mount = fn(&Layers<'_>, &Path) -> Result<(), ImageError>;
        let mut ways: Vec<Mount> = vec![mount_at_once];
        if takes_layers_one_by_one() {
            ways.push(mount);
        }
        for way in ways {
            let layers = Layers { lowers: &lowers, writable: Some((&upper, &work)) };
            way(&layers, &path("target")).unwrap();
            let seen = std::fs::read_to_string(path("target").join("a"));
            rustix::mount::unmount(path("target"), rustix::mount::UnmountFlags::DETACH).unwrap();
            assert_eq!(seen.unwrap(), "high");
            // A volatile writable layer is never mounted twice.
            std::fs::remove_dir_all(&work).unwrap();
            std::fs::create_dir(&work).unwrap();
        }
    }
}
