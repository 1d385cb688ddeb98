// SPDX-License-Identifier: Apache-2.0
//! What containers have written.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use crisp_words::ContainerId;
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags},
    io::Errno,
};

use crate::images::{ImageError, blocking};

/// Age from which a figure is made anew.
const FRESH: Duration = Duration::from_secs(10);

/// What a writable layer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WritableUsage {
    /// On disk.
    pub bytes: u64,
    /// Files, directories and so on, the layer's top included.
    pub inodes: u64,
    /// When it was measured.
    pub at: SystemTime,
}

#[derive(Default)]
pub(super) struct UsageCache {
    known: Mutex<HashMap<ContainerId, Known>>,
}

struct Known {
    usage: WritableUsage,
    measured: Instant,
    being_measured: bool,
}

impl UsageCache {
    pub(super) fn forget(&self, container: &ContainerId) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(container);
    }

    /// The last figure, if there is one; an old one is measured again behind the caller's back.
    pub(super) async fn get(
        self: &Arc<Self>,
        container: &ContainerId,
        upper: PathBuf,
    ) -> Result<WritableUsage, ImageError> {
        let last = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.get_mut(container).map(|known| {
                let due = !known.being_measured && known.measured.elapsed() > FRESH;
                known.being_measured |= due;
                (known.usage, due)
            })
        };
        let Some((usage, due)) = last else {
            let usage = blocking("measure writable layer", move || measure(&upper)).await?;
            self.put(container, usage);
            return Ok(usage);
        };
        if due {
            let (cache, container) = (Arc::clone(self), container.clone());
            tokio::task::spawn_blocking(move || match measure(&upper) {
                Ok(usage) => cache.put(&container, usage),
                // It is gone, or will fail the next caller who has no figure either.
                Err(_) => cache.forget(&container),
            });
        }
        Ok(usage)
    }

    fn put(&self, container: &ContainerId, usage: WritableUsage) {
        let known = Known { usage, measured: Instant::now(), being_measured: false };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(container.clone(), known);
    }
}

/// Walks `upper`, counting a file with several names once.
fn measure(upper: &Path) -> Result<WritableUsage, ImageError> {
    let at = SystemTime::now();
    let mut walk = Walk::default();
    let top = open_dir(CWD, upper.as_os_str())
        .map_err(|error| ImageError::host("measure", upper)(error.into()))?;
    walk.dir(&top).map_err(|error| ImageError::host("measure", upper)(error.into()))?;
    Ok(WritableUsage { bytes: walk.bytes, inodes: walk.inodes + 1, at })
}

#[derive(Default)]
struct Walk {
    bytes: u64,
    inodes: u64,
    seen: HashSet<u64>,
}

impl Walk {
    fn dir(&mut self, dir: &OwnedFd) -> Result<(), Errno> {
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            // The container goes on working: what vanishes meanwhile is not counted.
            let Ok(stat) = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            if stat.st_nlink > 1
                && FileType::from_raw_mode(stat.st_mode) != FileType::Directory
                && !self.seen.insert(stat.st_ino)
            {
                continue;
            }
            self.inodes += 1;
            self.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                && let Ok(child) = open_dir(dir, name)
            {
                self.dir(&child)?;
            }
        }
        Ok(())
    }
}

fn open_dir(parent: impl rustix::fd::AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_two_names_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let before = measure(dir.path()).unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/a"), vec![1; 10_000]).unwrap();
        std::fs::hard_link(dir.path().join("d/a"), dir.path().join("b")).unwrap();
        let after = measure(dir.path()).unwrap();
        assert_eq!(after.inodes - before.inodes, 2);
        assert!(after.bytes - before.bytes >= 10_000);
        assert!(measure(&dir.path().join("missing")).is_err());
    }
}
