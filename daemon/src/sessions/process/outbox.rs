// SPDX-License-Identifier: Apache-2.0
//! What is sent to a client, written by a task of its own: whoever sends may be dropped at any
//! time without tearing a frame, and waits only while too much is on its way.

use std::time::Duration;

use bytes::Bytes;
use futures::{Sink, SinkExt};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::tungstenite::{
    Message, Utf8Bytes,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::sessions::spdy::encode;

/// Number of a ping of our own; a server's are even. Its echo needs no answer.
const PING: u32 = 2;
/// Frames that may wait.
const WAITING: usize = 8;

/// The client takes nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// The way to a client. Clones share it; when the last is dropped and all is written, the
/// connection's sending half is closed.
#[derive(Debug, Clone)]
pub(super) struct Outbox(mpsc::Sender<Item>);

#[derive(Debug)]
enum Item {
    Frame(Bytes),
    Alive,
    Close,
}

impl Outbox {
    /// Starts writing SPDY frames. A client that takes nothing for `stall` is gone.
    pub(super) fn bytes(
        mut to: impl AsyncWrite + Send + Unpin + 'static,
        stall: Duration,
    ) -> (Self, JoinHandle<()>) {
        let (outbox, mut items) = mpsc::channel(WAITING);
        let task = tokio::spawn(async move {
            while let Some(item) = items.recv().await {
                let frame = match item {
                    Item::Frame(frame) => frame,
                    Item::Alive => encode::ping(PING),
                    Item::Close => continue,
                };
                let written = async {
                    to.write_all(&frame).await?;
                    if items.is_empty() { to.flush().await } else { Ok(()) }
                };
                if !matches!(timeout(stall, written).await, Ok(Ok(()))) {
                    return;
                }
            }
            // The client may have gone first.
            let _ = timeout(stall, to.shutdown()).await;
        });
        (Self(outbox), task)
    }

    /// Starts writing each frame as a WebSocket message; else as [`Self::bytes`].
    pub(super) fn messages<S>(
        mut to: S,
        kind: MessageKind,
        stall: Duration,
    ) -> (Self, JoinHandle<()>)
    where
        S: Sink<Message> + Send + Unpin + 'static,
        S::Error: Send,
    {
        let (outbox, mut items) = mpsc::channel(WAITING);
        let task = tokio::spawn(async move {
            while let Some(item) = items.recv().await {
                let message = match item {
                    Item::Frame(frame) => kind.message(frame),
                    Item::Alive => Message::Pong(Bytes::new()),
                    Item::Close => Message::Close(Some(CloseFrame {
                        code: CloseCode::Normal,
                        reason: Utf8Bytes::default(),
                    })),
                };
                if !matches!(timeout(stall, to.send(message)).await, Ok(Ok(()))) {
                    return;
                }
            }
            // The client may have gone first.
            let _ = timeout(stall, to.close()).await;
        });
        (Self(outbox), task)
    }

    /// Sends a frame, once there is room.
    pub(super) async fn send(&self, frame: Bytes) -> Result<(), Gone> {
        self.0.send(Item::Frame(frame)).await.map_err(|_| Gone)
    }

    /// Sends a sign of life while nothing is read from the client, because what it sent before is
    /// not taken. A WebSocket client would give up, since its own pings wait too; and the system of
    /// one that has died says so only when something is sent to it.
    pub(super) fn keep_alive(&self) {
        // While frames wait, they are sign of life enough.
        let _ = self.0.try_send(Item::Alive);
    }

    /// Tells a WebSocket client that nothing more will come.
    pub(super) async fn close(&self) -> Result<(), Gone> {
        self.0.send(Item::Close).await.map_err(|_| Gone)
    }
}

/// Which kind of WebSocket message frames become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MessageKind {
    Binary,
    /// The frames are ASCII.
    Text,
}

impl MessageKind {
    fn message(self, frame: Bytes) -> Message {
        match self {
            Self::Binary => Message::Binary(frame),
            Self::Text => Utf8Bytes::try_from(frame.clone())
                .map_or_else(|_| Message::Binary(frame), Message::Text),
        }
    }
}
