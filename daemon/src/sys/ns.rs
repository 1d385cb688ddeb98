// SPDX-License-Identifier: Apache-2.0
//! A process that holds new namespaces, and the loopback switch.
#![expect(unsafe_code, reason = "clone and the interface ioctls have no safe wrapper")]

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::{
    net::{AddressFamily, SocketFlags, SocketType, socket_with},
    pipe::{PipeFlags, pipe_with},
    process::{Pid, WaitOptions, waitpid},
};

/// A child that sits in a new user namespace and a new network namespace owned by it. It ends
/// when this value is dropped, or when the daemon dies.
#[derive(Debug)]
pub(crate) struct Holder {
    pid: Pid,
    /// The child reads from the other end; closing this one ends it.
    release: Option<OwnedFd>,
}

impl Holder {
    /// Starts the child.
    ///
    /// # Errors
    /// The kernel's, for example `ENOSPC` when no further user namespace is allowed.
    pub(crate) fn start() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNET | libc::SIGCHLD;
        // SAFETY: without CLONE_VM and with a null stack this is fork(2): the child gets a copy
        // of the whole memory and runs on a copy of this thread's stack. Other threads do not
        // exist in it and may have held locks, so `hold` calls async-signal-safe functions only.
        // All arguments after the flags are zero, hence their order, which differs between
        // architectures, does not matter.
        let pid = unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(flags), 0, 0, 0, 0) };
        match pid {
            0 => hold(read.as_raw_fd(), write.as_raw_fd()),
            pid if pid > 0 => {
                let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
                let pid = pid.ok_or_else(|| io::Error::other("clone returned no pid"))?;
                Ok(Self { pid, release: Some(write) })
            }
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Pid of the child.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.release = None;
        // Nothing else reaps this pid; an error means that there is nothing to reap.
        let _ = rustix::io::retry_on_intr(|| waitpid(Some(self.pid), WaitOptions::empty()));
    }
}

/// The child's whole life: waits for the end of the pipe.
fn hold(read: i32, write: i32) -> ! {
    let mut byte = 0u8;
    // SAFETY: close, read and _exit are async-signal-safe, the descriptors are the child's own
    // copies, and `byte` is one writable byte. The child's copy of the write end goes first:
    // while it is open, the pipe would never end.
    unsafe {
        libc::close(write);
        while libc::read(read, (&raw mut byte).cast(), 1) < 0
            && *libc::__errno_location() == libc::EINTR
        {}
        libc::_exit(0)
    }
}

/// Brings up the loopback interface of the calling thread's network namespace.
///
/// # Errors
/// The kernel's.
pub(crate) fn loopback_up() -> io::Result<()> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: 0 },
    };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    // SAFETY: both requests take a pointer to an ifreq that lives across the call; the name is
    // NUL-terminated, and the kernel fills `ifru_flags`, the field that is read and written.
    unsafe {
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) < 0 {
            return Err(io::Error::last_os_error());
        }
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
