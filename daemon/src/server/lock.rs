// SPDX-License-Identifier: Apache-2.0
//! One daemon for each state directory. The lock is the kernel's (flock): it goes with the
//! process, however that ends.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Name of the lock file in a state directory.
const FILE: &str = "crisp.lock";

/// How long a dead daemon's children may hold its lock: one that was killed amid the start of a
/// program leaves a copy of itself that lets go of the lock only as it becomes that program.
const HEIRS: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

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
    /// [`LockError`]; it does not wait for a daemon that lives.
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
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(LockError::Io { path, source }),
                Err(TryLockError::WouldBlock) => {}
            }
            let pid = noted_pid(&mut file);
            if lives(&pid) || began.elapsed() > HEIRS {
                return Err(LockError::InUse { directory: directory.to_owned(), pid });
            }
            std::thread::sleep(PAUSE);
        }
        note_pid(&mut file).map_err(failed(&path))?;
        Ok(Self { _file: file })
    }
}

/// Who says to have the lock: for the message, and to know whether it is dead.
fn noted_pid(file: &mut File) -> String {
    let mut pid = String::new();
    let known = file.rewind().and_then(|()| file.read_to_string(&mut pid)).is_ok();
    let pid = pid.trim();
    if known && !pid.is_empty() { pid.to_owned() } else { "unknown".to_owned() }
}

/// Whether that process is there, or might be. One that nobody has waited for yet is dead.
fn lives(pid: &str) -> bool {
    if pid.parse::<u32>().is_err() {
        return true;
    }
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    crisp_words::runs(&stat)
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

    #[test]
    fn a_lock_that_a_dead_daemon_left_to_a_child_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let mut dead = std::process::Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        fs::write(&path, format!("{}\n", dead.id())).unwrap();
        let held = File::open(&path).unwrap();
        held.lock().unwrap();
        let mut child = std::process::Command::new("sleep").arg("0.3").stdin(held).spawn().unwrap();
        Lock::take(directory.path()).unwrap();
        child.wait().unwrap();
    }
}
