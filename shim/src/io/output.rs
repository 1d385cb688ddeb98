// SPDX-License-Identifier: Apache-2.0
//! One stream out of a container: read, logged, and offered to attachments.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use rustix::io::{Errno, ioctl_fionread, read};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::watch,
    task::yield_now,
    time::{Instant, timeout, timeout_at},
};

use super::{
    attach::Hub,
    container::lock,
    cut::Cutter,
    error::complain,
    fifo,
    journal::Journal,
    log_file::{Batch, LogFile},
    spool::Spool,
    streams::Source,
};

/// Read first, on the stack: most output is a few lines.
const SMALL: usize = 4 << 10;
/// Read on, once output is more than that. A pipe holds as much.
const LARGE: usize = 64 << 10;
/// Reads before others get their turn.
const TURN: usize = 16;
/// How long a pipe of another's shim may be without a writer before attachments are told that the
/// stream has ended. A shim may close it and open it again.
const ABSENCE: Duration = Duration::from_secs(1);
/// How long another's shim may hold a pipe open without a byte, once the exit is known: a child
/// that outlives its container does so for ever.
const SILENCE: Duration = Duration::from_secs(2);
/// How long such a child may keep an exit from being told by what it writes.
const CHATTER: Duration = Duration::from_secs(10);

/// What is left in a pipe after a turn.
enum Left {
    Nothing,
    More,
    End,
}

/// Where a stream comes from.
pub(super) struct Intake {
    pipe: Mutex<Arc<AsyncFd<OwnedFd>>>,
    writers: Writers,
    kept: Option<Kept>,
}

/// Who is at the other end of a pipe.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writers {
    /// The container. Once all are gone, none will come.
    Container,
    /// Another's shim, which may close the pipe and open it again.
    Shim,
}

/// What makes good for a death of this process.
pub(super) struct Kept {
    spool: Mutex<Spool>,
    journal: Arc<Mutex<Journal>>,
}

pub(super) struct Output {
    source: Source,
    intake: Intake,
    log: Option<Arc<Mutex<LogFile>>>,
    hub: Arc<Hub>,
    cutter: Mutex<Cutter>,
    ended: watch::Sender<bool>,
    /// Changes with every turn.
    turns: watch::Sender<()>,
}

impl Intake {
    /// A container's own pipe or terminal.
    pub(super) fn own(pipe: Arc<AsyncFd<OwnedFd>>) -> Self {
        Self { pipe: Mutex::new(pipe), writers: Writers::Container, kept: None }
    }

    /// A pipe that another's shim writes to.
    pub(super) fn served(pipe: Arc<AsyncFd<OwnedFd>>, kept: Option<Kept>) -> Self {
        Self { pipe: Mutex::new(pipe), writers: Writers::Shim, kept }
    }

    fn pipe(&self) -> Arc<AsyncFd<OwnedFd>> {
        lock(&self.pipe).clone()
    }

    fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let pipe = self.pipe();
        match &self.kept {
            None => read(pipe.get_ref(), buffer),
            Some(kept) => lock(&kept.spool).take(pipe.get_ref(), buffer),
        }
    }

    /// Waits for the next writer. The pipe's end that has seen one go would tell of that for ever.
    fn renew(&self) -> io::Result<()> {
        let mut pipe = lock(&self.pipe);
        let fresh = fifo::again(pipe.get_ref())?;
        *pipe = Arc::new(crate::sys::watch(fresh, Interest::READABLE)?);
        Ok(())
    }
}

impl Kept {
    pub(super) fn new(spool: Spool, journal: Arc<Mutex<Journal>>) -> Self {
        Self { spool: Mutex::new(spool), journal }
    }
}

/// Memory that lives for one turn.
#[derive(Default)]
struct Scratch {
    large: Vec<u8>,
    records: Vec<u8>,
}

impl Output {
    pub(super) fn new(
        source: Source,
        intake: Intake,
        log: Option<Arc<Mutex<LogFile>>>,
        hub: Arc<Hub>,
    ) -> Self {
        let (ended, turns) = (watch::Sender::new(false), watch::Sender::new(()));
        Self { source, intake, log, hub, cutter: Mutex::default(), ended, turns }
    }

    /// Reads until the stream ends; from another's shim, until it is no longer served.
    pub(super) async fn run(self: Arc<Self>) {
        let mut absent = false;
        loop {
            let pipe = self.intake.pipe();
            let readable = match absent {
                false => pipe.readable().await,
                true => match timeout(ABSENCE, pipe.readable()).await {
                    Ok(readable) => readable,
                    Err(_) => {
                        self.end();
                        absent = false;
                        continue;
                    }
                },
            };
            let Ok(mut ready) = readable else { break };
            let left = self.turn();
            self.turns.send_replace(());
            match left {
                Left::Nothing => {
                    absent = false;
                    ready.clear_ready();
                    self.rest();
                }
                Left::More => {
                    drop(ready);
                    yield_now().await;
                }
                Left::End if self.intake.writers == Writers::Shim => {
                    absent = true;
                    if let Err(error) = self.intake.renew() {
                        complain(format_args!("{}: {error}", self.source.name()));
                        break;
                    }
                }
                Left::End => break,
            }
        }
        self.end();
        self.ended.send_replace(true);
    }

    /// Gives back the room of what is done with, while there is nothing to do.
    fn rest(&self) {
        if let Some(kept) = &self.intake.kept {
            let done = lock(&kept.journal).done(self.source);
            lock(&kept.spool).free_now(done);
        }
    }

    /// Ends the last line and all attachments' streams.
    fn end(&self) {
        self.flush();
        self.hub.end(self.source);
    }

    /// Resolves once the stream has ended and all of it is in the log.
    pub(super) async fn ended(&self) {
        // The sender lives as long as `self`.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Brings all that comes through another's shim into the log. Its exit is known: once nobody
    /// writes to the pipe, nobody will.
    pub(super) async fn settled(&self) {
        let end = Instant::now() + CHATTER;
        let mut turns = self.turns.subscribe();
        while Instant::now() < end {
            match self.turn() {
                Left::End => break,
                Left::More => yield_now().await,
                Left::Nothing => {
                    let until = end.min(Instant::now() + SILENCE);
                    if !matches!(timeout_at(until, turns.changed()).await, Ok(Ok(()))) {
                        break;
                    }
                }
            }
        }
        self.end();
    }

    /// Has what a predecessor took out of the pipe and did not log any more come again.
    pub(super) fn resume(&self) {
        let Some(kept) = &self.intake.kept else { return };
        let mut from = lock(&kept.journal).done(self.source);
        let (mut buffer, mut records) = (vec![0; LARGE], Vec::new());
        loop {
            let spool = lock(&kept.spool);
            let n = spool.again(from, &mut buffer);
            if n == 0 {
                break;
            }
            from += n as u64;
            let left = spool.end() - from;
            drop(spool);
            self.deliver_before(&buffer[..n], left, &mut records);
        }
    }

    /// Brings what is in the pipe now into the log, and a line that has no end yet too.
    pub(super) fn catch_up(&self) {
        let mut left = ioctl_fionread(self.intake.pipe().get_ref()).unwrap_or(0);
        let mut scratch = Scratch::default();
        let mut buffer = [0; SMALL];
        while left > 0 {
            let Ok(n @ 1..) = self.intake.read(&mut buffer) else { break };
            self.deliver(&buffer[..n], &mut scratch.records);
            left = left.saturating_sub(n as u64);
        }
        self.flush();
    }

    fn turn(&self) -> Left {
        let mut scratch = Scratch::default();
        let mut small = [0; SMALL];
        let mut last = match self.intake.read(&mut small) {
            Ok(n) => {
                self.deliver(&small[..n], &mut scratch.records);
                Ok(n)
            }
            Err(e) => Err(e),
        };
        if last == Ok(SMALL) {
            scratch.large = vec![0; LARGE];
        }
        for _ in 1..TURN {
            match last {
                Ok(0) => return Left::End,
                // A pty's other side is closed.
                Err(Errno::IO) => return Left::End,
                Err(Errno::AGAIN) => return Left::Nothing,
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => {
                    complain(format_args!("{}: {}", self.source.name(), io::Error::from(e)));
                    return Left::End;
                }
            }
            let buffer: &mut [u8] =
                if scratch.large.is_empty() { &mut small } else { &mut scratch.large };
            last = self.intake.read(&mut *buffer);
            if let Ok(n) = last {
                self.deliver(&buffer[..n], &mut scratch.records);
            }
        }
        Left::More
    }

    fn deliver(&self, bytes: &[u8], records: &mut Vec<u8>) {
        self.deliver_before(bytes, 0, records);
    }

    /// Delivers the bytes before the last `left` that were taken.
    fn deliver_before(&self, bytes: &[u8], left: u64, records: &mut Vec<u8>) {
        if let Some(log) = &self.log {
            let mut log = lock(log);
            let mut cutter = lock(&self.cutter);
            let mut batch = Batch::new(self.source, SystemTime::now(), records);
            cutter.push(bytes, |record| log.add(&mut batch, record));
            log.write(&mut batch);
            self.note(&log, left + cutter.kept() as u64);
        }
        self.hub.offer(self.source, bytes);
    }

    fn flush(&self) {
        let Some(log) = &self.log else { return };
        let mut log = lock(log);
        let mut cutter = lock(&self.cutter);
        if cutter.kept() > 0 {
            let mut records = Vec::new();
            let mut batch = Batch::new(self.source, SystemTime::now(), &mut records);
            cutter.finish(|record| log.add(&mut batch, record));
            log.write(&mut batch);
            self.note(&log, 0);
        }
        drop((log, cutter));
        self.rest();
    }

    /// Notes that all but the last `left` bytes that were taken are in the log.
    fn note(&self, log: &LogFile, left: u64) {
        let Some(kept) = &self.intake.kept else { return };
        let mut spool = lock(&kept.spool);
        let done = spool.end() - left;
        lock(&kept.journal).commit(self.source, done, log);
        spool.free(done);
    }
}
