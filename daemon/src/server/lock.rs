// SPDX-License-Identifier: Apache-2.0
//! One daemon for each state directory. The lock is the kernel's (flock): it goes with the
//! process, however that ends.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Name of the lock file in a state directory.
const FILE: &str = "crisp.lock";

/// A directory of which this process is the only daemon. Given up when dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why a directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon has it.
    #[error("{} is in use by another crisp daemon (pid {pid})", directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// Who says to have it.
        pid: String,
    },
    /// The directory or its lock file cannot be made.
    #[error("cannot lock {}", path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Lock {
    /// Makes `directory` if need be and takes it.
    ///
    /// # Errors
    /// [`LockError`]; it does not wait.
    pub fn take(directory: &Path) -> Result<Self, LockError> {
        let path = directory.join(FILE);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| LockError::Io { path, source }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(directory)
            .map_err(failed(directory))?;
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(source)) => return Err(LockError::Io { path, source }),
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Only for the message: a lock without a pid is as good.
                let known = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
                let pid = if known { pid.trim().to_owned() } else { "unknown".to_owned() };
                return Err(LockError::InUse { directory: directory.to_owned(), pid });
            }
        }
        note_pid(&mut file).map_err(failed(&path))?;
        Ok(Self { _file: file })
    }
}

fn note_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_told_who_has_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("a/b");
        let lock = Lock::take(&state).unwrap();
        let error = Lock::take(&state).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        assert!(error.contains(state.to_str().unwrap()), "{error}");
        drop(lock);
        Lock::take(&state).unwrap();
    }
}
