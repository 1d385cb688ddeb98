// SPDX-License-Identifier: Apache-2.0
//! The standard streams of containers: logs in the CRI format, attach, terminals.
//!
//! Everything runs on one thread and costs nothing while nobody writes: a stream is a named pipe
//! and a task that sleeps on it; buffers live for one burst of output.
//!
//! ```text
//! container ──▶ FIFO or pty ──▶ Output ──▶ Cutter ──▶ LogFile      (whole records, one write a batch)
//!                                  └─────▶ Hub ─────▶ Client, …    (bounded; a slow one loses bytes)
//! Client ──▶ Stdin ──▶ FIFO or pty ──▶ container
//! ```
//!
//! The same serves the containers of another's shim, in a process of its own: `served`.

mod attach;
mod console;
mod container;
mod cut;
mod error;
mod fifo;
mod journal;
mod log_file;
mod output;
mod relay;
mod served;
mod spool;
mod stdin;
mod streams;
#[cfg(test)]
mod tests;
mod timestamp;

pub use container::ContainerIo;
pub use error::IoError;
pub(crate) use error::complain;
pub use served::Served;
pub use streams::{AttachTo, ChildStdio, ReaderGone, Streams};
