// SPDX-License-Identifier: Apache-2.0
//! One process that the shim answers for: a container's init, or an exec.

mod children;
mod live;
mod phase;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crisp_words::InvalidStdio;
use tokio::sync::watch;

pub(crate) use children::Children;
pub(crate) use live::{Live, pid_in};
pub(crate) use phase::{Exit, Phase, Refusal, Verb};

use crate::io::{ContainerIo, ReaderGone, Streams};

/// Stdio as the caller wrote it; told again by State, so that a caller that lost it can go on.
#[derive(Debug, Clone, Default)]
pub(crate) struct StdioText {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

impl StdioText {
    /// What the caller wrote, understood.
    pub(crate) fn streams(
        &self,
        stdin_once: bool,
        reader_gone: ReaderGone,
    ) -> Result<Streams, InvalidStdio> {
        Ok(Streams {
            stdin: self.stdin.parse()?,
            stdout: self.stdout.parse()?,
            stderr: self.stderr.parse()?,
            terminal: self.terminal,
            stdin_once,
            reader_gone,
        })
    }
}

/// A process and what is known of it.
pub(crate) struct Process {
    pub(crate) stdio: StdioText,
    phase: watch::Sender<Phase>,
    live: Mutex<Option<Arc<Live>>>,
    io: Mutex<Option<ContainerIo>>,
}

/// A lock whose holder panicked guards data that is still whole: each is set in one step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Process {
    pub(crate) fn new(stdio: StdioText, phase: Phase) -> Self {
        let phase = watch::Sender::new(phase);
        Self { stdio, phase, live: Mutex::new(None), io: Mutex::new(None) }
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Moves on. A process that has stopped stays stopped, whoever comes late.
    pub(crate) fn enter(&self, next: Phase) {
        self.phase.send_if_modified(|now| {
            let moves = !matches!(now, Phase::Stopped(_)) && *now != next;
            if moves {
                *now = next;
            }
            moves
        });
    }

    /// The pid on the host, 0 before there is one.
    pub(crate) fn pid(&self) -> u32 {
        self.live().map_or(0, |live| live.pid())
    }

    /// The process itself, once there is one. After its end the pid stays known; the pidfd makes
    /// sure that no other process is meant.
    pub(crate) fn live(&self) -> Option<Arc<Live>> {
        lock(&self.live).clone()
    }

    pub(crate) fn set_live(&self, live: Arc<Live>) {
        *lock(&self.live) = Some(live);
    }

    pub(crate) fn io(&self) -> Option<ContainerIo> {
        lock(&self.io).clone()
    }

    pub(crate) fn set_io(&self, io: ContainerIo) {
        *lock(&self.io) = Some(io);
    }

    pub(crate) fn take_io(&self) -> Option<ContainerIo> {
        lock(&self.io).take()
    }

    /// Waits until the process has ended and its output is drained.
    pub(crate) async fn stopped(&self) -> Option<Exit> {
        let mut phase = self.phase.subscribe();
        let stopped = phase.wait_for(|p| matches!(p, Phase::Stopped(_))).await.ok()?;
        match *stopped {
            Phase::Stopped(exit) => Some(exit),
            _ => None,
        }
    }

    /// Waits while `start` is under way, so that an exit is never told before the start.
    pub(crate) async fn not_starting(&self) {
        let mut phase = self.phase.subscribe();
        let _ = phase.wait_for(|p| *p != Phase::Starting).await;
    }
}
