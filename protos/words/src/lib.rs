// SPDX-License-Identifier: Apache-2.0
//! Words that the daemon, the shim and the I/O helper share: ids, the names of files in a
//! bundle, the way stdio is addressed, and the records a shim leaves behind.
//!
//! Nothing here touches the host; the crate is a leaf.

mod exit;
mod id;
mod runs;
mod start_time;
mod stdio;

/// Names of the files in a bundle directory (`RUNROOT/bundles/ID/`).
pub mod bundle;

pub use exit::ExitRecord;
pub use id::{ContainerId, ExecId, InvalidId, SandboxId};
pub use runs::runs;
pub use start_time::start_time;
pub use stdio::{InvalidStdio, Stdio};
