// SPDX-License-Identifier: Apache-2.0
//! The connection to a client once HTTP is over.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures::{SinkExt, StreamExt};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{Role, WebSocketConfig},
    },
};

/// Largest WebSocket message taken from a client, bytes.
const MESSAGE: usize = 16 << 20;
/// Longest message that a tunnel sends, bytes.
const TUNNELLED: usize = 32 << 10;

/// Bytes both ways: TCP, TLS, or either in a tunnel.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A client's connection.
pub(super) type Wire = Box<dyn Stream>;

/// What is taken from WebSocket clients.
pub(super) fn message_limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(16 << 10)
        .write_buffer_size(0)
        .max_message_size(Some(MESSAGE))
        .max_frame_size(Some(MESSAGE))
}

/// The TCP socket below a client's connection, to learn whether anybody is still there while
/// nothing is read.
#[derive(Debug)]
pub(super) struct Line(OwnedFd);

impl Line {
    /// The socket of `stream`. From here on the kernel finds out by itself when the host at the
    /// other end has vanished.
    pub(super) fn of(stream: &TcpStream) -> io::Result<Self> {
        sockopt::set_socket_keepalive(stream, true)?;
        sockopt::set_tcp_keepidle(stream, std::time::Duration::from_secs(30))?;
        sockopt::set_tcp_keepintvl(stream, std::time::Duration::from_secs(10))?;
        sockopt::set_tcp_keepcnt(stream, 6)?;
        sockopt::set_tcp_nodelay(stream, true)?;
        Ok(Self(stream.as_fd().try_clone_to_owned()?))
    }

    /// Whether the other side has closed the connection.
    pub(super) fn is_closed(&self) -> bool {
        let events = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        let mut line = [PollFd::new(&self.0, events)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut line, Some(&now)).is_ok_and(|_| line[0].revents().intersects(events))
    }
}

/// A connection whose bytes travel in WebSocket messages.
pub(super) struct Tunnel {
    socket: WebSocketStream<Wire>,
    read: Bytes,
}

impl Tunnel {
    pub(super) async fn open(wire: Wire) -> Self {
        let limits = Some(message_limits());
        let socket = WebSocketStream::from_raw_socket(wire, Role::Server, limits).await;
        Self { socket, read: Bytes::new() }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.read.is_empty() {
            match ready!(self.socket.poll_next_unpin(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.read = bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Ok(_)) => {
                    let text = "a tunnel has binary messages only";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
                }
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
            }
        }
        let n = self.read.len().min(buffer.remaining());
        buffer.put_slice(&self.read[..n]);
        self.read.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.socket.poll_ready_unpin(cx)).map_err(io::Error::other)?;
        let bytes = &bytes[..bytes.len().min(TUNNELLED)];
        let message = Message::Binary(Bytes::copy_from_slice(bytes));
        self.socket.start_send_unpin(message).map_err(io::Error::other)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_flush_unpin(cx).map_err(io::Error::other)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_close_unpin(cx).map_err(io::Error::other)
    }
}
