// SPDX-License-Identifier: Apache-2.0

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rustix::mount::{UnmountFlags, mount_bind, unmount};

/// Pins the namespace behind `link` (`/proc/PID/ns/…`) as the file `name` in `dir`. Undo:
/// [`unpin`].
pub(super) fn pin(link: &str, dir: &Path, name: &str) -> io::Result<PathBuf> {
    let file = dir.join(name);
    File::create(&file)?;
    match mount_bind(link, &file) {
        Ok(()) => Ok(file),
        Err(errno) => {
            let _ = fs::remove_file(&file);
            Err(errno.into())
        }
    }
}

/// Lets go of pinned namespaces; one that is not pinned any more is fine.
pub(crate) fn unpin(pins: &[PathBuf]) {
    for file in pins {
        let _ = unmount(file, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        let _ = fs::remove_file(file);
    }
}
