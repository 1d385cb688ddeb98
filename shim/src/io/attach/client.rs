// SPDX-License-Identifier: Apache-2.0
//! One attachment: what waits to be sent to it, and the exchange on its socket.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
    time::timeout,
};

use super::{
    Hub,
    frame::{HEADER, Piece, Reader, STDIN, header},
};
use crate::io::{
    stdin::Stdin,
    streams::{AttachTo, Source},
};

/// Most bytes that wait for one attachment. What comes on top is lost to it.
const WAITING: usize = 256 << 10;
/// An attachment that takes nothing for so long while bytes wait for it is given up. Long enough
/// for somebody who has stopped the terminal to read.
const PATIENCE: Duration = Duration::from_secs(60);

/// What waits to be sent to one attachment.
pub(super) struct Outbox {
    wants: AttachTo,
    queue: Mutex<Queue>,
    changed: Notify,
}

struct Queue {
    bytes: Vec<u8>,
    /// Bytes taken by the sender that the socket has not taken yet.
    sending: usize,
    open: AttachTo,
    closed: bool,
}

/// The container's input, as an attachment feeds it.
pub(in crate::io) struct Feed {
    pub(in crate::io) stdin: Arc<Stdin>,
    /// Whether the container's input ends with this attachment's.
    pub(in crate::io) once: bool,
}

impl Outbox {
    pub(super) fn new(wants: AttachTo) -> Self {
        let queue = Queue { bytes: Vec::new(), sending: 0, open: wants, closed: false };
        Self { wants, queue: Mutex::new(queue), changed: Notify::new() }
    }

    /// Adds output if there is room for all of it.
    pub(super) fn push(&self, source: Source, bytes: &[u8]) {
        let wanted = match source {
            Source::Stdout => self.wants.stdout,
            Source::Stderr => self.wants.stderr,
        };
        let mut queue = self.queue();
        let waiting = queue.sending + queue.bytes.len();
        if wanted && waiting + HEADER + bytes.len() <= WAITING {
            queue.bytes.extend_from_slice(&header(source.number(), bytes.len()));
            queue.bytes.extend_from_slice(bytes);
            self.changed.notify_one();
        }
    }

    /// Ends a stream. The mark is small and always fits.
    pub(super) fn end(&self, source: Source) {
        let mut queue = self.queue();
        let open = match source {
            Source::Stdout => &mut queue.open.stdout,
            Source::Stderr => &mut queue.open.stderr,
        };
        if std::mem::take(open) {
            queue.bytes.extend_from_slice(&header(source.number(), 0));
            self.changed.notify_one();
        }
    }

    pub(super) fn close(&self) {
        self.queue().closed = true;
        self.changed.notify_one();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all that waits. `None`: nothing will come any more.
    fn take(&self) -> Option<Vec<u8>> {
        let mut queue = self.queue();
        let more = !queue.closed && (queue.open.stdout || queue.open.stderr);
        // One that carries input alone stays until the container or its other side ends it.
        let input_alone = !queue.closed && !self.wants.stdout && !self.wants.stderr;
        if queue.bytes.is_empty() && !more && !input_alone {
            return None;
        }
        queue.sending = queue.bytes.len();
        Some(std::mem::take(&mut queue.bytes))
    }

    fn sent(&self, count: usize) {
        let mut queue = self.queue();
        queue.sending = queue.sending.saturating_sub(count);
    }

    async fn send(&self, mut socket: OwnedWriteHalf) -> io::Result<()> {
        while let Some(bytes) = self.take() {
            if bytes.is_empty() {
                self.changed.notified().await;
            }
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let written = timeout(PATIENCE, socket.write(rest)).await??;
                rest = &rest[written..];
                self.sent(written);
            }
        }
        socket.shutdown().await
    }
}

/// Carries one attachment to its end.
pub(super) async fn serve(
    socket: UnixStream,
    outbox: Arc<Outbox>,
    hub: Arc<Hub>,
    feed: Option<Feed>,
) {
    hub.join(&outbox);
    let (from, to) = socket.into_split();
    // Either way to end is the attachment's own affair.
    let _ = tokio::select! {
        sent = outbox.send(to) => sent,
        read = receive(from, feed.as_ref()) => read,
    };
    hub.leave(&outbox);
    if let Some(feed) = feed.filter(|feed| feed.once) {
        feed.stdin.close();
    }
}

/// Takes what comes from the other side until it goes away.
async fn receive(mut socket: OwnedReadHalf, feed: Option<&Feed>) -> io::Result<()> {
    let mut reader = Reader::default();
    let mut buffer = vec![0; 4 << 10];
    // Once the container takes no input any more the rest is read and dropped.
    let mut feed = feed;
    loop {
        let n = socket.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        let mut bytes = &buffer[..n];
        while let Some(piece) = reader.next(&mut bytes) {
            match (piece, feed) {
                (Piece::Bytes(STDIN, bytes), Some(to)) => {
                    let written = to.stdin.write(bytes).await;
                    feed = feed.filter(|_| written.is_ok());
                }
                (Piece::End(STDIN), Some(to)) => {
                    if to.once {
                        to.stdin.close();
                    }
                    feed = None;
                }
                _ => {}
            }
        }
    }
}
