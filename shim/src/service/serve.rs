// SPDX-License-Identifier: Apache-2.0
//! The ttrpc server, with the two things the crate lacks: who may call, and that a call outlives
//! its caller.

use std::{
    collections::HashMap,
    io,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use containerd_shim_protos::{sandbox_async::create_sandbox, shim_async::create_task};
use crisp_podio::create_pod_io;
use tokio::{net::UnixStream, time::sleep};
use ttrpc::{
    Code,
    asynchronous::{MethodHandler, Service, TtrpcContext, transport::Listener},
    error::get_rpc_status,
};

use super::{
    opened::{Opened, OpenedService},
    pod_io::PodIoService,
    sandbox::SandboxService,
    task::TaskService,
};
use crate::pod::Pod;

/// Name of the Task service for callers of protocol version 2; the messages are those of 3.
const TASK_V2: &str = "containerd.task.v2.Task";
const TASK_V3: &str = "containerd.task.v3.Task";
/// Pause after an accept that failed, so that a shortage of descriptors is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time for the last answers to be written.
const FAREWELL: Duration = Duration::from_millis(20);

/// A listening socket and its path.
pub(crate) struct Socket {
    pub(crate) listener: OwnedFd,
    pub(crate) path: Option<PathBuf>,
}

/// A server of one pod.
pub(crate) struct Server {
    inner: ttrpc::asynchronous::Server,
    path: Option<PathBuf>,
}

/// Services by name.
pub(crate) type Services = HashMap<String, Service>;

/// All services of the pod's shim; `socket` is the server's own.
pub(crate) fn pod_services(pod: &Arc<Pod>, socket: Option<&Path>) -> Services {
    let task = Arc::new(TaskService::new(pod.clone()));
    let mut services = create_task(task.clone());
    if let Some(service) = create_task(task).remove(TASK_V3) {
        services.insert(TASK_V2.to_owned(), service);
    }
    services.extend(create_sandbox(Arc::new(SandboxService::new(pod.clone()))));
    services.extend(create_pod_io(Arc::new(PodIoService::new(pod.clone(), socket))));
    services
}

/// The service of the pod's I/O helper.
pub(crate) fn opened_services(opened: &Arc<Opened>) -> Services {
    create_pod_io(Arc::new(OpenedService(opened.clone())))
}

impl Server {
    /// Serves `services` on `socket`.
    pub(crate) async fn start(socket: Socket, services: Services) -> io::Result<Self> {
        let mut inner = ttrpc::asynchronous::Server::new()
            .register_service(detached(services))
            .add_listener(listener(socket.listener)?);
        inner.start().await.map_err(io::Error::other)?;
        Ok(Self { inner, path: socket.path })
    }

    /// Stops listening, lets the last answers out and removes the socket.
    pub(crate) async fn leave(mut self) {
        self.inner.stop_listen().await;
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
        sleep(FAREWELL).await;
    }
}

/// Accepts connections of this process's own user and of nobody else.
fn listener(fd: OwnedFd) -> io::Result<Listener> {
    let listener = UnixListener::from(fd);
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    Ok(Listener::new(futures::stream::unfold(listener, |listener| async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) if is_own_user(&stream) => return Some((Ok(stream), listener)),
                Ok(_) => {}
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    })))
}

fn is_own_user(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own)
}

/// Methods that only wait: nothing is lost when their caller goes, and nobody is left to answer.
const WAITING: [&str; 3] = ["Wait", "WaitSandbox", "Drained"];

/// Detaches handlers from their connection. The crate drops a handler when its client disconnects;
/// work that changes something must run to its end all the same.
fn detached(services: Services) -> Services {
    let detach = |(name, handler): (String, Box<dyn MethodHandler + Send + Sync>)| {
        let handler = match WAITING.contains(&name.as_str()) {
            true => handler,
            false => Box::new(Detached(handler.into())) as Box<dyn MethodHandler + Send + Sync>,
        };
        (name, handler)
    };
    let of = |service: Service| Service {
        methods: service.methods.into_iter().map(detach).collect(),
        streams: service.streams,
    };
    services.into_iter().map(|(name, service)| (name, of(service))).collect()
}

struct Detached(Arc<dyn MethodHandler + Send + Sync>);

#[async_trait]
impl MethodHandler for Detached {
    async fn handler(
        &self,
        context: TtrpcContext,
        request: ttrpc::Request,
    ) -> ttrpc::Result<ttrpc::Response> {
        let handler = self.0.clone();
        let work = tokio::spawn(async move { handler.handler(context, request).await });
        work.await.unwrap_or_else(|e| Err(get_rpc_status(Code::INTERNAL, e)))
    }
}
