// SPDX-License-Identifier: Apache-2.0
//! Copies between a terminal and named pipes that someone else serves. The other side's pace is
//! the terminal's: nothing is lost, nothing piles up.

use std::{io, os::fd::OwnedFd, sync::Arc};

use rustix::io::{Errno, read, write};
use tokio::io::unix::AsyncFd;

const BUFFER: usize = 4 << 10;

/// Copies until `from` ends. A terminal ends when its last user is gone.
pub(super) async fn relay(from: Arc<AsyncFd<OwnedFd>>, to: Arc<AsyncFd<OwnedFd>>) {
    loop {
        let mut buffer = [0; BUFFER];
        match read_some(&from, &mut buffer).await {
            Ok(n @ 1..) => {
                if write_all(&to, &buffer[..n]).await.is_err() {
                    break;
                }
            }
            Ok(0) | Err(_) => break,
        }
    }
}

async fn read_some(from: &AsyncFd<OwnedFd>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut ready = from.readable().await?;
        match read(from.get_ref(), &mut *buffer) {
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

async fn write_all(to: &AsyncFd<OwnedFd>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let mut ready = to.writable().await?;
        match write(to.get_ref(), bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
