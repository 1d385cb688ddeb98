// SPDX-License-Identifier: Apache-2.0
#![expect(unsafe_code, reason = "tokio asks for a promise about the descriptor's life")]

use std::{io, os::fd::OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

/// Has the event loop watch `fd`, which must not wait on reads and writes. Must be called within
/// the runtime.
///
/// # Errors
/// The kernel's: a regular file cannot be watched.
pub(crate) fn watch(fd: impl Into<OwnedFd>, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and answers with the same number until it is dropped, and the
    // `AsyncFd` owns it from here on.
    unsafe { AsyncFd::register_with_interest(fd.into(), interest) }.map_err(io::Error::from)
}
