// SPDX-License-Identifier: Apache-2.0

use std::{
    fs,
    future::pending,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use rustix::process::{
    Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use tokio::io::{Interest, unix::AsyncFd};

use super::Children;
use crate::sys;

/// What is told of a process whose end was seen but whose status went to somebody else.
const UNKNOWN_STATUS: u32 = 255;

/// A process by its pidfd: whatever is done to it is done to it and to no later bearer of its pid.
pub(crate) struct Live {
    pid: u32,
    fd: AsyncFd<OwnedFd>,
}

impl Live {
    /// Takes hold of a child, living or zombie, and tracks it among `children`.
    pub(crate) fn open(pid: u32, children: &Children) -> io::Result<Arc<Self>> {
        let raw = Pid::from_raw(pid.cast_signed()).ok_or(io::ErrorKind::InvalidData)?;
        let fd = pidfd_open(raw, PidfdFlags::NONBLOCK)?;
        let fd = sys::watch(fd, Interest::READABLE)?;
        children.track(pid);
        Ok(Arc::new(Self { pid, fd }))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal by number. `false`: the process is gone.
    pub(crate) fn signal(&self, signal: u32) -> io::Result<bool> {
        let signal = sys::signal(signal).ok_or(io::ErrorKind::InvalidInput)?;
        match pidfd_send_signal(self.fd.as_fd(), signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits for the end, whoever reaps.
    pub(crate) async fn over(&self) {
        // A pidfd is readable from its process's end on. Without it the end is not known.
        if self.fd.readable().await.is_err() {
            pending::<()>().await;
        }
    }

    /// Waits for the end and reaps. Only the process's one waiter may call it.
    pub(crate) async fn reap(&self, children: &Children) -> u32 {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let status = loop {
            let Ok(mut ready) = self.fd.readable().await else { break UNKNOWN_STATUS };
            match waitid(WaitId::PidFd(self.fd.as_fd()), options) {
                Ok(Some(end)) => break code(end.exit_status(), end.terminating_signal()),
                Ok(None) | Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                Err(_) => break UNKNOWN_STATUS,
            }
        };
        children.reaped(self.pid);
        status
    }
}

/// Exit code, or 128 + signal.
fn code(exited: Option<i32>, killed: Option<i32>) -> u32 {
    match (exited, killed) {
        (Some(code), _) => code.cast_unsigned(),
        (None, Some(signal)) => 128 + signal.cast_unsigned(),
        (None, None) => UNKNOWN_STATUS,
    }
}

/// The pid that a runtime wrote to a file.
pub(crate) fn pid_in(file: &Path) -> io::Result<u32> {
    let text = fs::read_to_string(file)?;
    text.trim().parse().map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{} holds no pid", file.display()))
    })
}
