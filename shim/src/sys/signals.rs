// SPDX-License-Identifier: Apache-2.0

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};
use tokio::io::{Interest, unix::AsyncFd};

/// The signals a server cares for, read from a descriptor so that no handler ever runs. They are
/// blocked; the standard library unblocks them in each child it spawns.
pub(crate) struct Signals {
    source: SignalFd,
    watched: AsyncFd<OwnedFd>,
}

impl Signals {
    /// Blocks SIGCHLD, SIGTERM and SIGINT and listens to them.
    pub(crate) fn listen() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
            set.add(signal);
        }
        set.thread_block()?;
        let source = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let watched = super::watch(source.as_fd().try_clone_to_owned()?, Interest::READABLE)?;
        Ok(Self { source, watched })
    }

    /// The next signal's number.
    pub(crate) async fn next(&self) -> io::Result<Signal> {
        loop {
            let mut ready = self.watched.readable().await?;
            match self.source.read_signal() {
                Ok(Some(info)) => {
                    let number = i32::try_from(info.ssi_signo).unwrap_or_default();
                    return Signal::try_from(number).map_err(io::Error::from);
                }
                Ok(None) => ready.clear_ready(),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
