// SPDX-License-Identifier: Apache-2.0
//! Who may reap whom.
//!
//! Every process the shim started, or took over from a runtime that has left, is waited for by its
//! own pidfd, and nobody else may take its exit status. What remains are strays: orphans of a
//! container without a PID namespace of its own, handed to the shim because it is their subreaper.
//! The sweep takes those, and only those: it looks at a zombie before it takes it, and it holds
//! back while a runtime is about to hand over a process whose pid is not known yet.

use std::{collections::BTreeSet, sync::Mutex};

use nix::{
    sys::wait::{Id, WaitPidFlag, waitid},
    unistd::Pid,
};

use super::lock;

#[derive(Default)]
pub(crate) struct Children(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Pids that a waiter of their own will reap.
    tracked: BTreeSet<u32>,
    /// Runtimes under way that leave a process behind.
    handing_over: usize,
}

/// Holds back the sweep for as long as it lives.
pub(crate) struct HandingOver<'a>(&'a Children);

impl Drop for HandingOver<'_> {
    fn drop(&mut self) {
        lock(&self.0.0).handing_over -= 1;
        self.0.sweep();
    }
}

impl Children {
    /// To be held from before a runtime is spawned until the process it leaves is tracked.
    pub(crate) fn handing_over(&self) -> HandingOver<'_> {
        lock(&self.0).handing_over += 1;
        HandingOver(self)
    }

    /// From now on `pid` belongs to a waiter of its own.
    pub(crate) fn track(&self, pid: u32) {
        lock(&self.0).tracked.insert(pid);
    }

    /// `pid` has been reaped by its waiter.
    pub(crate) fn reaped(&self, pid: u32) {
        lock(&self.0).tracked.remove(&pid);
        self.sweep();
    }

    /// Reaps strays. The kernel shows one zombie at a time; when it is a tracked one its waiter is
    /// about to take it and calls again.
    pub(crate) fn sweep(&self) {
        let known = lock(&self.0);
        let take = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
        while known.handing_over == 0
            && let Some(pid) = zombie(Id::All, take | WaitPidFlag::WNOWAIT)
            && !known.tracked.contains(&pid)
        {
            let _ = waitid(Id::Pid(Pid::from_raw(pid.cast_signed())), take);
        }
    }
}

/// The pid of the zombie the kernel shows first.
fn zombie(which: Id<'_>, flags: WaitPidFlag) -> Option<u32> {
    let pid = waitid(which, flags).ok()?.pid()?;
    u32::try_from(pid.as_raw()).ok()
}
