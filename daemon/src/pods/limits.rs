// SPDX-License-Identifier: Apache-2.0
//! How long each step may take: the configuration's `[deadlines]`, as far as pods need them.

use std::time::Duration;

use crate::config::Deadlines;

/// One limit for each step that waits for something outside the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// One chain of CNI plugins.
    pub cni: Duration,
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
    /// What the kernel does without a program: namespaces, mounts, cgroups, files.
    pub host: Duration,
    /// Connecting to one shim after a restart, and undoing one half-made thing.
    pub reconnect: Duration,
}

impl Limits {
    /// The limits that the configuration sets.
    #[must_use]
    pub fn new(deadlines: &Deadlines) -> Self {
        Self {
            cni: deadlines.cni,
            shim_start: deadlines.shim_start,
            shim_call: deadlines.shim_call,
            runtime: deadlines.runtime,
            kill: deadlines.kill,
            drain: deadlines.drain,
            host: deadlines.host,
            reconnect: deadlines.reconnect.min(deadlines.restart),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new(&Deadlines::default())
    }
}
