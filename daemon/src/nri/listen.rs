// SPDX-License-Identifier: Apache-2.0
//! The socket that plugins connect to.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{UnixListener, UnixStream},
    sync::oneshot,
    task::JoinHandle,
    time::sleep,
};

use super::{
    Settings,
    attend::{Caller, attend},
    error::OpenError,
    plugin::Origin,
};
use crate::pods::context::Context;

/// Pause after a failed accept, which fails again at once when files have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The socket; removed when this is dropped.
pub struct Socket {
    path: PathBuf,
    accepting: JoinHandle<()>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.accepting.abort();
        let _ = fs::remove_file(&self.path);
    }
}

/// Listens for plugins on `path`. A socket that a daemon before left there is replaced.
///
/// # Errors
/// [`OpenError::Socket`].
pub fn listen(
    context: Arc<Context>,
    settings: Arc<Settings>,
    path: &Path,
) -> Result<Socket, OpenError> {
    let listener =
        bind(path).map_err(|source| OpenError::Socket { path: path.to_owned(), source })?;
    tracing::info!(socket = %path.display(), "NRI plugins may connect");
    let accepting = tokio::spawn(accept(context, settings, listener));
    Ok(Socket { path: path.to_owned(), accepting })
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn accept(context: Arc<Context>, settings: Arc<Settings>, listener: UnixListener) {
    let own = rustix::process::geteuid().as_raw();
    loop {
        match listener.accept().await {
            Ok((stream, _)) if stream.peer_cred().is_ok_and(|peer| peer.uid() == own) => {
                let caller = Caller {
                    origin: Origin::External,
                    identity: None,
                    config: String::new(),
                    called: caller_name(&stream),
                };
                let (ready, _) = oneshot::channel();
                tokio::spawn(attend(context.clone(), settings.clone(), stream, caller, ready));
            }
            Ok((stream, _)) => {
                let caller = caller_name(&stream);
                tracing::warn!(caller, "another user's process tried to be an NRI plugin");
            }
            Err(error) => {
                tracing::warn!(%error, "NRI plugins cannot be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn caller_name(stream: &UnixStream) -> String {
    match stream.peer_cred().ok().and_then(|peer| peer.pid()) {
        Some(pid) => format!("(process {pid})"),
        None => "(unknown process)".into(),
    }
}
