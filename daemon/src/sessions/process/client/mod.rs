// SPDX-License-Identifier: Apache-2.0
//! The client of an exec or an attachment: its streams, whatever protocol carries them.

mod channels;
mod streams;

use std::{io, time::Duration};

use bytes::Bytes;
use tokio::{task::JoinHandle, time::timeout};

use super::{
    handshake::Speech,
    outbox::{Gone, Outbox},
    outcome::Outcome,
    resize::Size,
    wire::Wire,
};
use crate::{containers::spec::Terminal, sessions::ticket::Wants};

/// How long a client may take to go by itself after it was told the end.
const FAREWELL: Duration = Duration::from_secs(5);

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    /// Bytes for standard input, never none.
    Stdin(Bytes),
    /// Standard input ends.
    StdinEnd,
    /// The terminal has another size.
    Resize(Size),
}

/// A stream towards the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    Stdout,
    Stderr,
}

/// A client whose streams are all there.
pub(super) struct Client {
    pub(super) from: FromClient,
    pub(super) to: ToClient,
    writer: JoinHandle<()>,
}

/// The side that is read.
pub(super) enum FromClient {
    Streams(Box<streams::From>),
    Channels(Box<channels::From>),
}

/// The side that is written. Clones share it.
#[derive(Clone)]
pub(super) enum ToClient {
    Streams(streams::To),
    Channels(channels::To),
}

impl Client {
    /// Takes a client's streams, and waits until it has opened all of them. A client that takes
    /// nothing for `stall` while something waits for it counts as gone.
    ///
    /// # Errors
    /// The connection's, or `InvalidData` for a client that breaks its protocol.
    pub(super) async fn open(
        wire: Wire,
        speech: Speech,
        wants: Wants,
        terminal: Terminal,
        stall: Duration,
    ) -> io::Result<Self> {
        let (from, to, writer) = match speech {
            Speech::Spdy(status) => {
                let (from, to, writer) =
                    streams::open(wire, status, wants, terminal, stall).await?;
                (FromClient::Streams(Box::new(from)), ToClient::Streams(to), writer)
            }
            Speech::Channels(protocol) => {
                let (from, to, writer) = channels::open(wire, protocol, stall).await;
                (FromClient::Channels(Box::new(from)), ToClient::Channels(to), writer)
            }
            Speech::Tunnel => {
                let text = "a tunnel carries no streams of a process";
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
        };
        Ok(Self { from, to, writer })
    }

    /// Tells the client how it ended and gives it time to take leave.
    pub(super) async fn finish(mut self, outcome: &Outcome) {
        let told = async {
            self.to.finish(outcome).await?;
            // Closing now, with bytes of the client unread, could destroy what is on its way.
            let _ = timeout(FAREWELL, async { while self.from.next().await.is_some() {} }).await;
            Ok::<(), Gone>(())
        };
        let _ = timeout(2 * FAREWELL, told).await;
        drop((self.from, self.to));
        let _ = timeout(FAREWELL, self.writer).await;
    }
}

impl FromClient {
    /// What the client sends next; `None` when it has gone. May be dropped without loss.
    pub(super) async fn next(&mut self) -> Option<Input> {
        match self {
            Self::Streams(from) => from.next().await,
            Self::Channels(from) => from.next().await,
        }
    }
}

impl ToClient {
    /// Sends output; a stream that the client did not ask for is left out.
    pub(super) async fn send(&self, output: Output, bytes: &[u8]) -> Result<(), Gone> {
        match self {
            Self::Streams(to) => to.send(output, bytes).await,
            Self::Channels(to) => to.send(output, bytes).await,
        }
    }

    /// Ends a stream.
    pub(super) async fn end(&self, output: Output) -> Result<(), Gone> {
        match self {
            Self::Streams(to) => to.end(output).await,
            // There is no such message: the end of all is the end of each.
            Self::Channels(_) => Ok(()),
        }
    }

    async fn finish(&self, outcome: &Outcome) -> Result<(), Gone> {
        match self {
            Self::Streams(to) => to.finish(outcome).await,
            Self::Channels(to) => to.finish(outcome).await,
        }
    }

    /// The way to the client itself.
    pub(super) fn outbox(&self) -> &Outbox {
        match self {
            Self::Streams(to) => to.outbox(),
            Self::Channels(to) => to.outbox(),
        }
    }
}
