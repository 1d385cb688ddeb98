// SPDX-License-Identifier: Apache-2.0
//! How long each step may take.

use std::time::Duration;

/// One limit for each step that waits for something outside the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Start of a shim, until it listens.
    pub shim_start: Duration,
    /// A call to a shim that starts no OCI runtime.
    pub shim_call: Duration,
    /// A call by which the shim runs the OCI runtime (create, start, exec, update, delete).
    pub runtime: Duration,
    /// From SIGKILL until the exit is known.
    pub kill: Duration,
    /// From an exit until all output is in the log.
    pub drain: Duration,
    /// Connecting to all shims after a restart.
    pub reconnect: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            shim_start: Duration::from_secs(10),
            shim_call: Duration::from_secs(10),
            runtime: Duration::from_secs(60),
            kill: Duration::from_secs(10),
            drain: Duration::from_secs(12),
            reconnect: Duration::from_secs(5),
        }
    }
}
