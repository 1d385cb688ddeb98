// SPDX-License-Identifier: Apache-2.0
//! `GET /metrics` over HTTP/1.1, on a TCP port, on a unix socket, or on both.

use std::{
    convert::Infallible,
    fs, io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
};

use super::Metrics;
use crate::pods::node::Node;

/// How long a client may take to say what it wants.
const HEADERS: Duration = Duration::from_secs(5);
/// How long one connection may last. A scraper that wants more connects again.
const CONNECTION: Duration = Duration::from_secs(600);
/// A pause after a failed accept, lest it fail all the time.
const PAUSE: Duration = Duration::from_millis(100);

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why metrics are not served.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The port.
    #[error("cannot serve metrics on {address} ([metrics] metrics_host, metrics_port)")]
    Port {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The socket.
    #[error("cannot serve metrics on {} ([metrics] metrics_socket)", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Serves the metrics of `node` at `port` and `socket` until the daemon ends.
///
/// # Errors
/// [`MetricsError`]; nothing is served then.
pub async fn serve(
    metrics: Metrics,
    node: Node,
    port: Option<SocketAddr>,
    socket: Option<PathBuf>,
) -> Result<(), MetricsError> {
    let tcp = match port {
        None => None,
        Some(address) => Some(
            TcpListener::bind(address)
                .await
                .map_err(|source| MetricsError::Port { address, source })?,
        ),
    };
    let unix = match socket {
        None => None,
        Some(path) => Some(listen(&path).map_err(|source| MetricsError::Socket { path, source })?),
    };
    if let Some(listener) = tcp {
        let (metrics, node) = (metrics.clone(), node.clone());
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => answer(metrics.clone(), node.clone(), stream),
                    Err(error) => wait(&error).await,
                }
            }
        });
    }
    if let Some(listener) = unix {
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => answer(metrics.clone(), node.clone(), stream),
                    Err(error) => wait(&error).await,
                }
            }
        });
    }
    Ok(())
}

/// The lock on the run directory makes this the only daemon: a socket in the way is a dead one's.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

async fn wait(error: &io::Error) {
    tracing::warn!(%error, "cannot take a scraper's connection");
    tokio::time::sleep(PAUSE).await;
}

fn answer<S>(metrics: Metrics, node: Node, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(&metrics, &node, request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    tokio::spawn(async move {
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .serve_connection(TokioIo::new(stream), service);
        if let Ok(Err(error)) = tokio::time::timeout(CONNECTION, served).await {
            tracing::debug!(%error, "a scraper's connection broke off");
        }
    });
}

fn respond(metrics: &Metrics, node: &Node, method: &Method, path: &str) -> Response<Text> {
    let (status, kind, text) = match (method, path) {
        (&Method::GET, "/metrics") => match metrics.text(node) {
            Ok(text) => (StatusCode::OK, OPENMETRICS, text),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
        },
        (&Method::GET, _) => (StatusCode::NOT_FOUND, "text/plain", "see /metrics\n".to_owned()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET only\n".to_owned()),
    };
    let mut response = Response::new(Text(Some(text.into())));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A body of one piece.
struct Text(Option<Bytes>);

impl Body for Text {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.take().map(|text| Ok(Frame::data(text))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |text| text.len() as u64))
    }
}
