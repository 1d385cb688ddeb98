// SPDX-License-Identifier: Apache-2.0
//! A client that opens a SPDY stream for each stream of the process.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{ReadHalf, split},
    task::JoinHandle,
    time::timeout,
};

use super::{
    super::{handshake::Status, resize::Sizes, wire::Wire},
    Gone, Input, Outbox, Outcome, Output,
};
use crate::{
    containers::spec::Terminal,
    sessions::{
        spdy::{Frame, Headers, Reader, StreamId, encode},
        ticket::Wants,
    },
};

/// How long a client may take to open its streams.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most bytes taken from a client that has not opened all of its streams.
const EARLY: usize = 64 << 10;

/// The streams' numbers, as far as they are open. One that is not asked for never is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ids {
    error: Option<StreamId>,
    stdin: Option<StreamId>,
    stdout: Option<StreamId>,
    stderr: Option<StreamId>,
    resize: Option<StreamId>,
}

pub(in super::super) struct From {
    reader: Reader<ReadHalf<Wire>>,
    outbox: Outbox,
    blocks: encode::Blocks,
    ids: Ids,
    /// What came before all streams were open.
    early: VecDeque<Frame>,
    sizes: Sizes,
}

#[derive(Clone)]
pub(in super::super) struct To {
    outbox: Outbox,
    ids: Ids,
    status: Status,
    /// Whether stdout and stderr have ended.
    ended: Arc<[AtomicBool; 2]>,
}

pub(super) async fn open(
    wire: Wire,
    status: Status,
    wants: Wants,
    terminal: Terminal,
    stall: Duration,
) -> io::Result<(From, To, JoinHandle<()>)> {
    let (reader, writer) = split(wire);
    let (outbox, task) = Outbox::bytes(writer, stall);
    let mut from = From {
        reader: Reader::new(reader),
        outbox: outbox.clone(),
        blocks: encode::Blocks::default(),
        ids: Ids::default(),
        early: VecDeque::new(),
        sizes: Sizes::default(),
    };
    let opened = timeout(PATIENCE, from.open_all(wants, terminal)).await;
    opened.map_err(|_| invalid("the client did not open its streams in time"))??;
    let to = To { outbox, ids: from.ids, status, ended: Arc::default() };
    Ok((from, to, task))
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl Ids {
    fn complete(&self, wants: Wants, terminal: Terminal) -> bool {
        self.error.is_some()
            && self.stdin.is_some() == wants.stdin
            && self.stdout.is_some() == wants.stdout
            && self.stderr.is_some() == wants.stderr
            && self.resize.is_some() == (terminal == Terminal::Tty)
    }

    /// Where the number of the stream goes that `headers` open; `None` for one that is not
    /// expected.
    fn slot(
        &mut self,
        headers: &Headers,
        wants: Wants,
        terminal: Terminal,
    ) -> Option<&mut Option<StreamId>> {
        let (slot, wanted) = match headers.get("streamtype")? {
            "error" => (&mut self.error, true),
            "stdin" => (&mut self.stdin, wants.stdin),
            "stdout" => (&mut self.stdout, wants.stdout),
            "stderr" => (&mut self.stderr, wants.stderr),
            "resize" => (&mut self.resize, terminal == Terminal::Tty),
            _ => return None,
        };
        (wanted && slot.is_none()).then_some(slot)
    }
}

impl From {
    async fn open_all(&mut self, wants: Wants, terminal: Terminal) -> io::Result<()> {
        let mut early = 0;
        while !self.ids.complete(wants, terminal) {
            let frame = self.reader.next().await?;
            let frame = frame.ok_or_else(|| invalid("the client went away"))?;
            match frame {
                Frame::Open { stream, headers } => {
                    let answer = match self.ids.slot(&headers, wants, terminal) {
                        Some(slot) => {
                            *slot = Some(stream);
                            self.blocks.reply(stream)
                        }
                        None => encode::reset(stream, encode::PROTOCOL_ERROR),
                    };
                    self.answer(answer).await?;
                }
                Frame::Ping { id } if id % 2 == 1 => self.answer(encode::ping(id)).await?,
                Frame::GoAway => return Err(invalid("the client went away")),
                frame => {
                    early += if let Frame::Data { bytes, .. } = &frame { bytes.len() } else { 0 };
                    self.early.push_back(frame);
                    if early > EARLY || self.early.len() > EARLY / 64 {
                        return Err(invalid("the client sends before it has opened its streams"));
                    }
                }
            }
        }
        Ok(())
    }

    async fn answer(&self, frame: bytes::Bytes) -> io::Result<()> {
        self.outbox.send(frame).await.map_err(|Gone| invalid("the client went away"))
    }

    pub(super) async fn next(&mut self) -> Option<Input> {
        loop {
            let frame = match self.early.pop_front() {
                Some(frame) => frame,
                None => self.reader.next().await.ok().flatten()?,
            };
            let ids = self.ids;
            match frame {
                Frame::Data { stream: id, bytes } if ids.stdin == Some(id) => {
                    return Some(Input::Stdin(bytes));
                }
                Frame::End { stream: id } | Frame::Reset { stream: id }
                    if ids.stdin == Some(id) =>
                {
                    // Only once: clients end a stream and then reset it.
                    self.ids.stdin = None;
                    return Some(Input::StdinEnd);
                }
                Frame::Data { stream: id, bytes } if ids.resize == Some(id) => {
                    if let Some(size) = self.sizes.add(&bytes) {
                        return Some(Input::Resize(size));
                    }
                }
                Frame::Open { stream, .. } => {
                    self.outbox.send(encode::reset(stream, encode::REFUSED_STREAM)).await.ok()?;
                }
                Frame::Ping { id } if id % 2 == 1 => {
                    self.outbox.send(encode::ping(id)).await.ok()?;
                }
                Frame::GoAway => return None,
                _ => {}
            }
        }
    }
}

impl To {
    fn stream(&self, output: Output) -> Option<StreamId> {
        match output {
            Output::Stdout => self.ids.stdout,
            Output::Stderr => self.ids.stderr,
        }
    }

    pub(super) async fn send(&self, output: Output, bytes: &[u8]) -> Result<(), Gone> {
        match self.stream(output) {
            Some(stream) => self.outbox.send(encode::data(stream, bytes)).await,
            None => Ok(()),
        }
    }

    pub(super) async fn end(&self, output: Output) -> Result<(), Gone> {
        let ended = match output {
            Output::Stdout => &self.ended[0],
            Output::Stderr => &self.ended[1],
        };
        match self.stream(output) {
            Some(stream) if !ended.swap(true, Ordering::Relaxed) => {
                self.outbox.send(encode::end(stream)).await
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn finish(&self, outcome: &Outcome) -> Result<(), Gone> {
        // Clients read the output to its end before they look at the status.
        self.end(Output::Stdout).await?;
        self.end(Output::Stderr).await?;
        let Some(error) = self.ids.error else { return Ok(()) };
        let status = outcome.write(self.status);
        if !status.is_empty() {
            self.outbox.send(encode::data(error, &status)).await?;
        }
        self.outbox.send(encode::end(error)).await
    }

    pub(super) fn outbox(&self) -> &Outbox {
        &self.outbox
    }
}
