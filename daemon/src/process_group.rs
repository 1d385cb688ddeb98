// SPDX-License-Identifier: Apache-2.0
//! The process group of a program that was spawned as its leader.

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;

/// Killed when dropped armed, so that a call that is given up leaves nothing running.
pub(crate) struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    /// The group that `child` leads.
    pub(crate) fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }

    /// The leader was reaped: its number may be another's now.
    pub(crate) fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Gone already is as good.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
