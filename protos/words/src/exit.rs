// SPDX-License-Identifier: Apache-2.0

use serde::{Deserialize, Serialize};

/// How a container's init ended. The shim writes it (to a temporary name, then renamed) before
/// it answers any waiter, so that an exit survives both the daemon and the shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Format of this record; readers refuse a number they do not know.
    pub version: u32,
    /// Pid on the host of the process that ended.
    pub pid: u32,
    /// Exit code, or 128 + signal number when a signal ended it.
    pub status: u32,
    /// When it ended, in nanoseconds since the Unix epoch.
    pub exited_at_ns: i64,
    /// Whether the kernel's OOM killer took a process of the container's cgroup.
    pub oom_killed: bool,
}

impl ExitRecord {
    /// The format written today.
    pub const VERSION: u32 = 1;
}
