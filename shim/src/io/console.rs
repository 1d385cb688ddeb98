// SPDX-License-Identifier: Apache-2.0
//! The socket over which an OCI runtime hands over a container's terminal.

use std::{
    fs, io,
    io::IoSliceMut,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
    termios::isatty,
};
use tokio::{io::Interest, net::UnixListener, time::timeout};

use super::IoError;

/// Longest path that fits a socket's address, in bytes.
const LONGEST: usize = 107;
/// Sockets made so far: an exec's stands beside its container's.
static MADE: AtomicU64 = AtomicU64::new(0);

/// A console socket, until the terminal has come.
#[derive(Debug)]
pub(super) struct ConsoleSocket {
    listener: UnixListener,
    file: PathBuf,
    address: PathBuf,
    /// Keeps an `address` through this process's descriptors valid.
    _directory: OwnedFd,
}

impl ConsoleSocket {
    /// Listens in `directory`, however long its path is.
    pub(super) fn listen(directory: &Path) -> Result<Self, IoError> {
        let name = format!("console-{}.sock", MADE.fetch_add(1, Ordering::Relaxed));
        let file = directory.join(&name);
        let failed = |e: io::Error| IoError::stream("console socket", &file, e);
        let _ = fs::remove_file(&file);
        let opened = OwnedFd::from(fs::File::open(directory).map_err(failed)?);
        let address = if file.as_os_str().len() <= LONGEST {
            file.clone()
        } else {
            let through = format!("/proc/{}/fd/{}", std::process::id(), opened.as_raw_fd());
            Path::new(&through).join(&name)
        };
        let listener = UnixListener::bind(&address).map_err(failed)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { listener, file, address, _directory: opened })
    }

    /// What to give the runtime as its console socket.
    pub(super) fn address(&self) -> &Path {
        &self.address
    }

    /// Waits for the terminal. Answers with its master side, which does not wait on reads.
    pub(super) async fn receive(&self, deadline: Duration) -> Result<OwnedFd, IoError> {
        let received = timeout(deadline, self.accept())
            .await
            .map_err(|_| IoError::NoConsole { path: self.file.clone(), after: deadline })?;
        received.map_err(|source| IoError::BadConsole { path: self.file.clone(), source })
    }

    async fn accept(&self) -> io::Result<OwnedFd> {
        let (stream, _) = self.listener.accept().await?;
        let master = stream.async_io(Interest::READABLE, || receive_descriptor(&stream)).await?;
        if !isatty(&master) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a terminal"));
        }
        fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
        Ok(master)
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = fs::remove_file(&self.file);
    }
}

fn receive_descriptor(stream: &tokio::net::UnixStream) -> io::Result<OwnedFd> {
    let mut text = [0; 512];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(stream, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    control
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        })
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no descriptor came along"))
}
