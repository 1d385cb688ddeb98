// SPDX-License-Identifier: Apache-2.0
//! Writes that are whole or not there at all after a power cut.

use std::{
    fs::File,
    io::Write,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::images::error::ImageError;

/// Whether a record has to outlive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outlives {
    PowerCut,
    Process,
}

/// Replaces `dir/name` by `bytes` in one step. Blocks.
pub(crate) fn write_record(
    dir: &Path,
    name: &str,
    bytes: &[u8],
    outlives: Outlives,
) -> Result<(), ImageError> {
    let (new, path) = (dir.join(format!(".{name}.new")), dir.join(name));
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        if outlives == Outlives::PowerCut {
            file.sync_data()?;
        }
        std::fs::rename(&new, &path)
    };
    if let Err(error) = write() {
        let _ = std::fs::remove_file(&new);
        return Err(ImageError::host("write", &path)(error));
    }
    match outlives {
        Outlives::PowerCut => sync_dir(dir),
        Outlives::Process => Ok(()),
    }
}

/// Makes renames and removals in `dir` durable. Blocks.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), ImageError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(ImageError::host("sync", dir))
}

/// Syncs a filesystem, once for all who ask while an earlier sync is still running.
pub(super) struct GroupSync {
    dir: File,
    path: std::path::PathBuf,
    begun: AtomicU64,
    /// Number of the last sync that ended well; held while one runs.
    done: Mutex<u64>,
}

impl GroupSync {
    pub(super) fn open(dir: &Path) -> Result<Self, ImageError> {
        let file = File::open(dir).map_err(ImageError::host("open", dir))?;
        Ok(Self { dir: file, path: dir.to_owned(), begun: AtomicU64::new(0), done: Mutex::new(0) })
    }

    /// Returns when all that was written before the call is durable. Blocks.
    pub(super) fn sync(&self) -> Result<(), ImageError> {
        let begun_before = self.begun.load(Ordering::SeqCst);
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if *done > begun_before {
            return Ok(());
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        rustix::fs::syncfs(&self.dir)
            .map_err(|error| ImageError::host("sync", &self.path)(error.into()))?;
        *done = number;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_replaced_whole_and_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["one", "two"] {
            write_record(dir.path(), "a.json", text.as_bytes(), Outlives::PowerCut).unwrap();
            assert_eq!(std::fs::read_to_string(dir.path().join("a.json")).unwrap(), text);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_sync_that_began_earlier_is_not_taken_for_ours() {
        let dir = tempfile::tempdir().unwrap();
        let sync = GroupSync::open(dir.path()).unwrap();
        sync.sync().unwrap();
        sync.sync().unwrap();
        assert_eq!(sync.begun.load(Ordering::SeqCst), 2);
    }
}
