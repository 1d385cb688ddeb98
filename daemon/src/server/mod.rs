// SPDX-License-Identifier: Apache-2.0
//! The CRI socket: who may serve it, how it appears, and how requests are logged.

mod deadline;
mod lock;
mod request_log;
mod serve;
mod socket;
pub mod watchdog;

pub use lock::{Lock, LockError};
pub use request_log::{Activity, RequestLog, seen, seen_pod};
pub use serve::{ServeError, serve};
pub use socket::{Socket, SocketError};
