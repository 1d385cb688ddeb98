// SPDX-License-Identifier: Apache-2.0
//! Descriptors that a task can wait for.
#![expect(unsafe_code, reason = "registering a descriptor with tokio has no safe form")]

use std::{io, os::fd::OwnedFd};

use inotify::Inotify;
use tokio::io::{Interest, unix::AsyncFd};

/// Registers the instance with the current tokio runtime.
///
/// # Errors
/// The kernel's.
pub(crate) fn readable(inotify: Inotify) -> io::Result<AsyncFd<Inotify>> {
    // SAFETY: an `Inotify` owns its descriptor, always answers with the same one, and closes it
    // only when it is dropped, which `AsyncFd` does after taking it out of the runtime.
    Ok(unsafe { AsyncFd::register_with_interest(inotify, Interest::READABLE) }?)
}

/// Registers a descriptor that becomes readable, such as a pidfd, with the current tokio runtime.
///
/// # Errors
/// The kernel's.
pub(crate) fn descriptor(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and answers with the same number until it is dropped, which
    // `AsyncFd` does after taking it out of the runtime.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}
