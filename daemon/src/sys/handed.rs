// SPDX-License-Identifier: Apache-2.0
//! Descriptors that the service manager handed over (sd_listen_fds(3)).
#![expect(unsafe_code, reason = "owning a descriptor that is known by number has no safe form")]

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

/// The descriptors, once: a second call finds none. Takes their variables out of the environment,
/// so it must come before any thread is started.
///
/// # Errors
/// Variables that make no sense, or that name descriptors which are not open.
pub(crate) fn take() -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let descriptors = sd_notify::listen_fds_with_names(true)?;
    let owned = |(number, _)| {
        // SAFETY: LISTEN_PID names this process, so its parent left this descriptor open for it
        // alone; that it is open was seen when it was marked close-on-exec. Nothing else in this
        // program knows the number, and `TAKEN` sees to it that it is owned once.
        unsafe { OwnedFd::from_raw_fd(number) }
    };
    Ok(descriptors.map(owned).collect())
}
