// SPDX-License-Identifier: Apache-2.0
//! Knows whether a plugin of an earlier call still runs, even one that a killed daemon left.
//!
//! A plugin reads its input from a file that the daemon has locked. The lock belongs to the open
//! file, which the plugin shares: when the daemon dies the lock stays until the plugin is gone.
//! So a DEL can wait for an ADD that nobody watches any more, instead of racing with it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// Longest pause between two looks at the lock.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// A locked input file.
#[derive(Debug)]
pub(super) struct Flight {
    file: File,
    path: PathBuf,
}

impl Flight {
    /// Takes the lock, waiting for an earlier plugin to end. After `patience` the earlier plugin
    /// keeps its file and a new one is made.
    pub(super) async fn begin(path: PathBuf, patience: Duration) -> io::Result<Self> {
        let until = Instant::now() + patience;
        let mut pause = Duration::from_millis(1);
        loop {
            let file = open(&path)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => return Ok(Self { file, path }),
                // Removed by its holder between open and lock.
                Ok(()) => continue,
                Err(TryLockError::WouldBlock) if Instant::now() < until => {}
                Err(TryLockError::WouldBlock) => {
                    tracing::warn!(path = %path.display(), "an earlier CNI plugin does not end");
                    crate::store::remove(&path)?;
                    continue;
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    pub(super) fn carrier(&self) -> &File {
        &self.file
    }

    /// Ends the call for good: all plugins of it have ended.
    pub(super) fn end(self) {
        if is_at(&self.file, &self.path) {
            // What stays is found unlocked the next time, and taken over.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(held), Ok(there)) = (file.metadata(), std::fs::metadata(path)) else { return false };
    (held.dev(), held.ino()) == (there.dev(), there.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_plugin_that_outlives_its_caller_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.call");
        let flight = Flight::begin(path.clone(), Duration::ZERO).await.unwrap();
        let mut child = tokio::process::Command::new("sleep")
            .arg("0.3")
            .stdin(flight.carrier().try_clone().unwrap())
            .spawn()
            .unwrap();
        drop(flight);
        let begun = Instant::now();
        let flight = Flight::begin(path.clone(), Duration::from_secs(10)).await.unwrap();
        assert!(begun.elapsed() > Duration::from_millis(150));
        flight.end();
        assert!(!path.exists());
        child.wait().await.unwrap();
    }

    #[tokio::test]
    async fn one_that_never_ends_does_not_block_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.call");
        let _first = Flight::begin(path.clone(), Duration::ZERO).await.unwrap();
        let second = Flight::begin(path.clone(), Duration::from_millis(20)).await.unwrap();
        second.end();
    }
}
