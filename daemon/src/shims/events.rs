// SPDX-License-Identifier: Apache-2.0
//! The events service that shims publish to.
//!
//! Events are hints: a shim may drop, repeat or reorder them. What is true is asked for by
//! `State` and `Wait`; only an OOM kill is told by an event alone.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use containerd_shim_protos::{
    api::{Empty, ForwardRequest},
    events::task::{TaskExit as ExitEvent, TaskOOM},
    shim_async::{Events, create_events},
};
use futures::stream;
use protobuf::Message;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::broadcast,
    time::sleep,
};
use ttrpc::asynchronous::{Server, TtrpcContext, transport::Listener};

use super::{ShimError, task::nanoseconds};

/// Hints kept for a subscriber that is behind. One that falls further behind is told so, and
/// asks for the state of what it owns.
const BACKLOG: usize = 256;
/// Pause after a failed accept, which fails again at once when files have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a shim said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// The kernel killed a process of the container for memory.
    Oom {
        /// Id of the container.
        container: String,
    },
    /// A process ended.
    Exit {
        /// Id of the container.
        container: String,
        /// Id of the exec; `None` for the init.
        exec: Option<String>,
        /// Exit code, or 128 + signal number.
        status: u32,
        /// When, in nanoseconds since the Unix epoch.
        exited_at_ns: Option<i64>,
    },
}

/// The server; shims are told its socket when they start.
pub struct EventServer {
    path: PathBuf,
    server: Server,
    hints: broadcast::Sender<Hint>,
}

impl EventServer {
    /// Listens on the socket `path`. A socket that a daemon before left there is replaced.
    ///
    /// # Errors
    /// [`ShimError::File`] when the socket cannot be made.
    pub async fn bind(path: &Path) -> Result<Self, ShimError> {
        let file = |e| ShimError::file(path, e);
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(file(e)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(file)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(file)?;
        let (hints, _) = broadcast::channel(BACKLOG);
        let service = Arc::new(Service { hints: hints.clone() });
        let mut server = Server::new()
            .add_listener(Listener::new(own_peers(listener)))
            .register_service(create_events(service));
        server.start().await.map_err(|e| file(io::Error::other(e)))?;
        Ok(Self { path: path.to_owned(), server, hints })
    }

    /// All hints from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }

    /// Closes the socket and all connections.
    pub async fn shutdown(mut self) {
        // It fails only where it was never started.
        let _ = self.server.shutdown().await;
        let _ = fs::remove_file(&self.path);
    }
}

/// Connections of processes that run as the daemon's own user.
fn own_peers(
    listener: UnixListener,
) -> impl futures::Stream<Item = io::Result<UnixStream>> + Send + 'static {
    let own = rustix::process::geteuid().as_raw();
    stream::unfold(listener, move |listener| async move {
        loop {
            match listener.accept().await {
                Ok((peer, _)) if peer.peer_cred().is_ok_and(|c| c.uid() == own) => {
                    return Some((Ok(peer), listener));
                }
                Ok(_) => tracing::warn!("another user's process tried to publish an event"),
                Err(error) => {
                    tracing::warn!(%error, "events cannot be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

struct Service {
    hints: broadcast::Sender<Hint>,
}

#[async_trait]
impl Events for Service {
    async fn forward(&self, _: &TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
        if let Some(hint) = hint(&request) {
            // Without subscribers there is nobody to tell.
            let _ = self.hints.send(hint);
        }
        Ok(Empty::new())
    }
}

/// Reads an event; one of no use is `None`, and so is one that cannot be read, since the shim
/// would only send it again.
fn hint(request: &ForwardRequest) -> Option<Hint> {
    let event = request.envelope.event.as_ref()?;
    match event.type_url.rsplit('/').next()? {
        "containerd.events.TaskOOM" => {
            let oom = TaskOOM::parse_from_bytes(&event.value).ok()?;
            Some(Hint::Oom { container: oom.container_id })
        }
        "containerd.events.TaskExit" => {
            let exit = ExitEvent::parse_from_bytes(&event.value).ok()?;
            let exec = (exit.id != exit.container_id).then_some(exit.id);
            Some(Hint::Exit {
                container: exit.container_id,
                exec,
                status: exit.exit_status,
                exited_at_ns: nanoseconds(exit.exited_at.as_ref()),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use containerd_shim_protos::shim_async::EventsClient;
    use protobuf::well_known_types::any::Any;

    use super::*;

    fn forward(type_url: &str, event: &impl Message) -> ForwardRequest {
        let mut request = ForwardRequest::new();
        request.envelope.mut_or_insert_default().event = Some(Any {
            type_url: type_url.to_owned(),
            value: event.write_to_bytes().unwrap(),
            ..Default::default()
        })
        .into();
        request
    }

    #[tokio::test]
    async fn a_forwarded_event_reaches_every_subscriber() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.sock");
        let server = EventServer::bind(&path).await.unwrap();
        let (mut one, mut two) = (server.subscribe(), server.subscribe());
        let address = format!("unix://{}", path.display());
        let client =
            EventsClient::new(ttrpc::asynchronous::Client::connect(&address).await.unwrap());
        let oom = TaskOOM { container_id: "c".to_owned(), ..Default::default() };
        let request = forward("containerd.events.TaskOOM", &oom);
        client.forward(ttrpc::context::with_timeout(1_000_000_000), &request).await.unwrap();
        let expected = Hint::Oom { container: "c".to_owned() };
        assert_eq!(one.recv().await.unwrap(), expected);
        assert_eq!(two.recv().await.unwrap(), expected);
        server.shutdown().await;
        assert!(!path.exists());
    }

    #[test]
    fn an_init_exit_carries_no_exec_id() {
        let exit = |id: &str| ExitEvent {
            container_id: "c".to_owned(),
            id: id.to_owned(),
            exit_status: 3,
            ..Default::default()
        };
        let exec = |id| match hint(&forward("containerd.events.TaskExit", &exit(id))) {
            Some(Hint::Exit { exec, .. }) => exec,
            other => panic!("{other:?}"),
        };
        assert_eq!(exec("c"), None);
        assert_eq!(exec("e"), Some("e".to_owned()));
    }
}
