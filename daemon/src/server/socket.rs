// SPDX-License-Identifier: Apache-2.0
//! The socket in the filesystem. It appears under its name complete, with its mode and listening;
//! a name left by a dead daemon is taken over, one that somebody serves is not.
//!
//! A service manager keeps the socket open while the daemon restarts: whoever connects meanwhile
//! waits for the next daemon instead of being refused.

use std::{
    fs::{self, Permissions},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use sd_notify::NotifyState;

/// Owner and group may connect.
const MODE: u32 = 0o660;

/// What the service manager calls the socket that it keeps.
const KEPT_AS: &str = "cri";

/// A listening socket. Its name is removed when this is dropped, unless the service manager keeps
/// the socket for the next daemon.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    name: Name,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Ours,
    Kept,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody serves it.
    #[error("{} is served by another process", .0.display())]
    InUse(PathBuf),
    /// Something else has the name.
    #[error("{} exists and is no socket", .0.display())]
    NoSocket(PathBuf),
    /// The host refused.
    #[error("cannot listen on {}", path.display())]
    Io {
        /// Path of the socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Socket {
    /// Listens on `path`.
    ///
    /// # Errors
    /// [`SocketError`].
    pub fn listen(path: &Path) -> Result<(Self, tokio::net::UnixListener), SocketError> {
        if is_served(path)? {
            return Err(SocketError::InUse(path.to_owned()));
        }
        let listener = place(path)
            .and_then(|listener| {
                listener.set_nonblocking(true)?;
                tokio::net::UnixListener::from_std(listener)
            })
            .map_err(|source| SocketError::Io { path: path.to_owned(), source })?;
        Ok((Self { path: path.to_owned(), name: Name::Ours }, listener))
    }

    /// Goes on with the socket at `path` that is among `handed`, else listens anew and asks the
    /// service manager, if there is one, to keep that socket.
    ///
    /// # Errors
    /// [`SocketError`].
    pub fn take_over(
        path: &Path,
        handed: Vec<OwnedFd>,
    ) -> Result<(Self, tokio::net::UnixListener), SocketError> {
        for descriptor in handed {
            let listener = UnixListener::from(descriptor);
            if !is_at(&listener, path) {
                tracing::warn!(
                    socket = %path.display(),
                    handed = ?listener.local_addr(),
                    "the service manager handed over another socket than the configured one"
                );
                continue;
            }
            let listener = listener
                .set_nonblocking(true)
                .and_then(|()| tokio::net::UnixListener::from_std(listener))
                .map_err(|source| SocketError::Io { path: path.to_owned(), source })?;
            return Ok((Self { path: path.to_owned(), name: Name::Kept }, listener));
        }
        let (mut socket, listener) = Self::listen(path)?;
        if std::env::var_os("NOTIFY_SOCKET").is_some() {
            match keep(&listener) {
                Ok(()) => socket.name = Name::Kept,
                Err(error) => tracing::warn!(%error, "cannot have the CRI socket kept"),
            }
        }
        Ok((socket, listener))
    }
}

/// Asks the service manager to keep the socket open, instead of what it kept before.
fn keep(listener: &tokio::net::UnixListener) -> io::Result<()> {
    sd_notify::notify(false, &[NotifyState::FdStoreRemove, NotifyState::FdName(KEPT_AS)])?;
    let store = [NotifyState::FdStore, NotifyState::FdName(KEPT_AS)];
    sd_notify::notify_with_fds(false, &store, &[listener.as_fd()])
}

/// Whether `listener` is what a client of `path` reaches. A socket of ours was bound under its
/// temporary name.
fn is_at(listener: &UnixListener, path: &Path) -> bool {
    let bound = listener.local_addr().ok();
    let bound = bound.as_ref().and_then(|address| address.as_pathname());
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    is_socket && bound.is_some_and(|bound| bound == path || bound == temporary(path))
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.name == Name::Kept {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "socket is left behind");
        }
    }
}

fn is_served(path: &Path) -> Result<bool, SocketError> {
    let failed = |source| SocketError::Io { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(failed(e)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SocketError::NoSocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        // Refused: nobody listens any more.
        Err(e)
            if matches!(e.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) =>
        {
            Ok(false)
        }
        // Connected, or a queue that is full.
        _ => Ok(true),
    }
}

/// Binds under a temporary name, then moves the socket to `path`.
fn place(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let fresh = temporary(path);
    match fs::remove_file(&fresh) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(&fresh)?;
    let placed = fs::set_permissions(&fresh, Permissions::from_mode(MODE))
        .and_then(|()| fs::rename(&fresh, path));
    if let Err(error) = placed {
        let _ = fs::remove_file(&fresh);
        return Err(error);
    }
    Ok(listener)
}

/// One character more than the name: as good as the same length for the limit of 107 bytes.
fn temporary(path: &Path) -> PathBuf {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push("~");
    fresh.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_daemons_socket_is_taken_over_and_a_live_ones_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub/crisp.sock");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the name behind");

        let (socket, _listener) = Socket::listen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert!(matches!(Socket::listen(&path), Err(SocketError::InUse(_))));
        UnixStream::connect(&path).unwrap();
        drop(socket);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("crisp.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Socket::listen(&path), Err(SocketError::NoSocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_socket_that_was_kept_serves_those_who_came_meanwhile() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("crisp.sock");
        let (first, listener) = Socket::listen(&path).unwrap();
        let kept = listener.as_fd().try_clone_to_owned().unwrap();
        let other = UnixListener::bind(directory.path().join("other")).unwrap();
        drop(listener);
        std::mem::forget(first);
        let _waits = UnixStream::connect(&path).unwrap();

        let (next, listener) = Socket::take_over(&path, vec![other.into(), kept]).unwrap();
        listener.accept().await.unwrap();
        drop(next);
        assert!(path.exists(), "the name is for the daemon after that");
    }

    #[tokio::test]
    async fn without_a_service_manager_a_name_ends_with_its_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("crisp.sock");
        let (socket, _listener) = Socket::take_over(&path, Vec::new()).unwrap();
        drop(socket);
        assert!(!path.exists());
    }
}
