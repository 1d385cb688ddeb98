// SPDX-License-Identifier: Apache-2.0
//! One stream out of a container: read, logged, and offered to attachments.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use rustix::io::{Errno, ioctl_fionread, read};
use tokio::{io::unix::AsyncFd, sync::watch, task::yield_now};

use super::{
    attach::Hub,
    cut::Cutter,
    error::complain,
    log_file::{Batch, LogFile},
    streams::Source,
};

/// Read first, on the stack: most output is a few lines.
const SMALL: usize = 4 << 10;
/// Read on, once output is more than that. A pipe holds as much.
const LARGE: usize = 64 << 10;
/// Reads before others get their turn.
const TURN: usize = 16;

/// What is left in a pipe after a turn.
enum Left {
    Nothing,
    More,
    End,
}

pub(super) struct Output {
    source: Source,
    pipe: Arc<AsyncFd<OwnedFd>>,
    log: Option<Arc<Mutex<LogFile>>>,
    hub: Arc<Hub>,
    cutter: Mutex<Cutter>,
    ended: watch::Sender<bool>,
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
        pipe: Arc<AsyncFd<OwnedFd>>,
        log: Option<Arc<Mutex<LogFile>>>,
        hub: Arc<Hub>,
    ) -> Self {
        let ended = watch::Sender::new(false);
        Self { source, pipe, log, hub, cutter: Mutex::default(), ended }
    }

    /// Reads until the stream ends.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            let Ok(mut ready) = self.pipe.readable().await else { break };
            match self.turn() {
                Left::Nothing => ready.clear_ready(),
                Left::More => {
                    drop(ready);
                    yield_now().await;
                }
                Left::End => break,
            }
        }
        self.flush();
        self.hub.end(self.source);
        self.ended.send_replace(true);
    }

    /// Resolves once the stream has ended and all of it is in the log.
    pub(super) async fn ended(&self) {
        // The sender lives as long as `self`.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Brings what is in the pipe now into the log, and a line that has no end yet too.
    pub(super) fn catch_up(&self) {
        let mut left = ioctl_fionread(self.pipe.get_ref()).unwrap_or(0);
        let mut scratch = Scratch::default();
        let mut buffer = [0; SMALL];
        while left > 0 {
            let Ok(n @ 1..) = read(self.pipe.get_ref(), &mut buffer) else { break };
            self.deliver(&buffer[..n], &mut scratch.records);
            left = left.saturating_sub(n as u64);
        }
        self.flush();
    }

    fn turn(&self) -> Left {
        let mut scratch = Scratch::default();
        let mut small = [0; SMALL];
        let mut last = match read(self.pipe.get_ref(), &mut small) {
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
            last = read(self.pipe.get_ref(), &mut *buffer);
            if let Ok(n) = last {
                self.deliver(&buffer[..n], &mut scratch.records);
            }
        }
        Left::More
    }

    fn deliver(&self, bytes: &[u8], records: &mut Vec<u8>) {
        if let Some(log) = &self.log {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            let mut cutter = self.cutter.lock().unwrap_or_else(PoisonError::into_inner);
            let mut batch = Batch::new(self.source, SystemTime::now(), records);
            cutter.push(bytes, |record| log.add(&mut batch, record));
            log.write(&mut batch);
        }
        self.hub.offer(self.source, bytes);
    }

    fn flush(&self) {
        let Some(log) = &self.log else { return };
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cutter = self.cutter.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records = Vec::new();
        let mut batch = Batch::new(self.source, SystemTime::now(), &mut records);
        cutter.finish(|record| log.add(&mut batch, record));
        log.write(&mut batch);
    }
}
