// SPDX-License-Identifier: Apache-2.0
//! Shims: how the daemon starts them, calls them, and learns that they died.
//!
//! Every shim speaks containerd's shim protocol (start and delete by command line, the Task
//! service over ttrpc); crisp's own also serves the Sandbox service and Pod I/O. This is the
//! daemon's only user of ttrpc: the rest of the daemon sees [`Launcher`], [`ShimClient`] and
//! plain structs.

mod answer;
mod bootstrap;
mod client;
mod connection;
mod delete;
mod dialect;
mod error;
mod events;
mod exec_io;
mod io_helper;
mod log_pipe;
mod options;
mod pod_io;
mod sandbox;
mod spawn;
mod task;
#[cfg(test)]
mod tests;
mod usage;

pub use answer::{BootstrapResult, TaskApi};
pub use bootstrap::{EventsTo, Launch, Launcher, Verbosity};
pub use client::{ShimClient, ShimTarget};
pub use dialect::Dialect;
pub use error::ShimError;
pub use events::{EventServer, Hint};
pub use exec_io::{Captured, ExecIo, ExecIoError};
pub use io_helper::{IoHelper, IoStdin, IoTerminal, OpenIo};
pub use log_pipe::LogPipe;
pub use options::{CgroupDriver, Options, RuncOptions, RuntimeConfig};
pub use pod_io::{AttachStreams, PodIo};
pub use sandbox::{CreateSandbox, SandboxState, SandboxStatus};
pub use task::{
    Connected, CreateTask, ExecTask, KillScope, RootfsMount, StdioAddresses, TaskExit, TaskRef,
    TaskState, TaskStats, TaskStatus,
};
