// SPDX-License-Identifier: Apache-2.0
//! Sessions: exec, attach and port-forward. The daemon checks a request, starts a process for it
//! and answers with the URL at which that process waits; from then on the session has nothing to
//! do with the daemon, and outlives it, in the cgroup of its pod's shim. What is left of an exec
//! when its session dies is ended by the daemon, or by the next one.

mod error;
mod listen;
mod prepare;
pub mod process;
mod record;
pub mod spdy;
mod start;
mod sweep;
pub mod ticket;
mod watch;

pub use error::SessionError;
pub use prepare::{attach, exec, forward};
pub use start::{Ports, Sessions, Settings};
