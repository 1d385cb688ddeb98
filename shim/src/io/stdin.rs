// SPDX-License-Identifier: Apache-2.0
//! The stream into a container, written by attachments.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
};

use rustix::io::{Errno, write};
use tokio::{
    io::unix::{AsyncFd, AsyncFdReadyGuard},
    sync::watch,
};

/// A pipe's write end or a terminal. Without one (not yet, or no more) what is written is
/// dropped.
pub(super) struct Stdin {
    end: Mutex<Option<Arc<AsyncFd<OwnedFd>>>>,
    closed: watch::Sender<bool>,
}

impl Stdin {
    pub(super) fn new(end: Option<Arc<AsyncFd<OwnedFd>>>) -> Self {
        Self { end: Mutex::new(end), closed: watch::Sender::new(false) }
    }

    /// Sets the end, once the container has one.
    pub(super) fn open(&self, end: Arc<AsyncFd<OwnedFd>>) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }

    /// Ends the stream: the container reads what is in the pipe, then its end. Who waits to
    /// write stops waiting.
    pub(super) fn close(&self) {
        self.closed.send_replace(true);
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Resolves once the stream was ended.
    pub(super) async fn closed(&self) {
        // The sender lives as long as `self`.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Writes all of `bytes`, as fast as the container reads.
    ///
    /// # Errors
    /// The container has closed its end, or the stream was closed.
    pub(super) async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut closed = self.closed.subscribe();
        tokio::select! {
            _ = closed.wait_for(|closed| *closed) => Err(io::ErrorKind::BrokenPipe.into()),
            written = self.write_all(bytes) => written,
        }
    }

    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let end = end.ok_or(io::ErrorKind::BrokenPipe)?;
        while !bytes.is_empty() {
            let mut ready: AsyncFdReadyGuard<'_, OwnedFd> = end.writable().await?;
            match write(end.get_ref(), bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}
