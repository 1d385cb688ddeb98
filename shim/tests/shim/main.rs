// SPDX-License-Identifier: Apache-2.0
//! The real binary, driven over its socket as a daemon drives it, with every OCI runtime found.
//! Needs root and a statically linked busybox.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod containers;
mod execs;
mod memory;
mod pod_io;
mod robustness;
mod sandboxes;
mod streams;
