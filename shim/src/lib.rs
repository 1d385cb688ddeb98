// SPDX-License-Identifier: Apache-2.0
//! crisp's shim: one process per pod that owns the pod's containers, their stdio, logs and exits.
//!
//! It speaks the containerd shim protocol, so crisp's daemon and containerd drive it alike. One
//! thread, one event loop; every child is waited for by its own pidfd.
//!
//! - `verbs`: what the binary does when it is called (`start`, `delete`, `-info`, serve).
//! - `service`: the RPCs, translation only, and the one map from errors to codes.
//! - `pod`, `container`, `process`: what a pod is made of. `sandbox`: the pod's own namespaces.
//! - `cgroup`: where a container's processes are, what they used, who was killed.
//! - `io`: logs, attach, consoles. `events`: what is told to whoever started the shim.
//! - `sys`: the one room for unsafe code.

mod cgroup;
mod container;
mod events;
mod flags;
mod handler_table;
mod invoke;
mod io;
mod mounts;
mod options;
mod pod;
mod process;
mod record;
mod sandbox;
mod service;
mod spec;
mod sys;
mod verbs;

pub use verbs::main;
