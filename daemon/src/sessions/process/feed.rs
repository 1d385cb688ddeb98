// SPDX-License-Identifier: Apache-2.0
//! Hands a client's input on. Nothing piles up: while the process takes nothing, nothing is read
//! from the client, and so it must be watched in another way whether it is still there.

use std::time::Duration;

use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use super::{outbox::Outbox, wire::Line};

/// How often a client is looked for whose input is not taken.
const LOOK: Duration = Duration::from_secs(5);

/// What became of some input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fed {
    /// It was taken.
    All,
    /// Nobody reads it any more.
    Refused,
    /// The client went away while it waited.
    ClientGone,
}

/// Writes `bytes` to `sink`, as fast as it takes them.
pub(super) async fn feed(
    sink: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    outbox: &Outbox,
    line: &Line,
) -> Fed {
    let mut rest = bytes;
    while !rest.is_empty() {
        match timeout(LOOK, sink.write(rest)).await {
            Ok(Ok(0) | Err(_)) => return Fed::Refused,
            Ok(Ok(n)) => rest = &rest[n..],
            Err(_) if line.is_closed() => return Fed::ClientGone,
            Err(_) => outbox.keep_alive(),
        }
    }
    Fed::All
}
