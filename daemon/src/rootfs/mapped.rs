// SPDX-License-Identifier: Apache-2.0
//! A volume of the host, shown with its owners mapped into a pod's user namespace. Done here, so
//! that it does not depend on what the OCI runtime can do in a namespace it joins.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use rustix::{fs::CWD, mount::OpenTreeFlags};

use super::{Rootfs, overlay};
use crate::{
    images::{ImageError, blocking},
    sys::mount::map_ids,
};

impl Rootfs {
    /// Mounts the file or directory `source` on `target`, which is made, with owners as the user
    /// namespace pinned at `userns` sees them. Mounts below `source` are not part of it.
    ///
    /// # Errors
    /// The kernel or the source's file system has no such mounts; nothing is mounted then.
    pub async fn mount_mapped(
        &self,
        source: PathBuf,
        userns: PathBuf,
        target: PathBuf,
    ) -> Result<(), ImageError> {
        blocking("mount volume", move || mount(&source, &userns, &target)).await
    }
}

fn mount(source: &Path, userns: &Path, target: &Path) -> Result<(), ImageError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, source, flags)
        .map_err(|error| ImageError::host("clone mount of", source)(error.into()))?;
    let namespace = File::open(userns).map_err(ImageError::host("open user namespace", userns))?;
    map_ids(&tree, &namespace).map_err(|error| ImageError::Kernel {
        what: "volumes with mapped owners",
        reason: format!("{error} on {}", source.display()),
    })?;
    let made =
        if source.is_dir() { fs::create_dir_all(target) } else { File::create(target).map(drop) };
    made.map_err(ImageError::host("make", target))?;
    overlay::attach(&tree, target)
}
