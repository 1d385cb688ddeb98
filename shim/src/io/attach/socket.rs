// SPDX-License-Identifier: Apache-2.0
//! The socket of an attachment: good for one connection.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{net::UnixListener, time::timeout};

use super::{
    Hub,
    client::{Feed, Outbox, serve},
};
use crate::io::{AttachTo, IoError};

/// How long the socket waits for its connection.
const UNUSED: Duration = Duration::from_secs(60);

/// Sockets made so far.
static MADE: AtomicU64 = AtomicU64::new(0);

/// Makes a socket in `directory`, waits there for one connection and serves it. Answers with the
/// socket's path once it listens.
pub(in crate::io) fn offer(
    directory: &Path,
    wants: AttachTo,
    hub: Arc<Hub>,
    feed: Option<Feed>,
) -> Result<PathBuf, IoError> {
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let path = directory.join(format!("a{}-{number}", std::process::id()));
    let failed = |e| IoError::stream("attach socket", &path, e);
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).map_err(failed)?;
    let socket = Socket(path.clone());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    tokio::spawn(async move {
        let accepted = timeout(UNUSED, accept_own(&listener)).await;
        drop((listener, socket));
        let Ok(Ok(stream)) = accepted else { return };
        serve(stream, Arc::new(Outbox::new(wants)), hub, feed).await;
    });
    Ok(path)
}

/// The first connection of a process that runs as the shim's own user.
async fn accept_own(listener: &UnixListener) -> io::Result<tokio::net::UnixStream> {
    let own = rustix::process::geteuid().as_raw();
    loop {
        let (stream, _) = listener.accept().await?;
        if stream.peer_cred().is_ok_and(|peer| peer.uid() == own) {
            return Ok(stream);
        }
    }
}

/// The socket's file; removed when dropped.
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = fs::remove_file(&self.0);
    }
}
