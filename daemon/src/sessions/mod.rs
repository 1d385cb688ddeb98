// SPDX-License-Identifier: Apache-2.0
//! Sessions: exec, attach and port-forward. The daemon checks a request, starts a process for it
//! and answers with the URL at which that process waits; from then on the session has nothing to
//! do with the daemon, and outlives it.

mod error;
mod listen;
mod prepare;
pub mod process;
pub mod spdy;
mod start;
pub mod ticket;

pub use error::SessionError;
pub use prepare::{attach, exec, forward};
pub use start::{Ports, Sessions, Settings};
