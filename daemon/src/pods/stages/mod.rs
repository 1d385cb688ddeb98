// SPDX-License-Identifier: Apache-2.0
//! The stages in which a sandbox is made. Each has its undo beside it; an undo that finds nothing
//! to do succeeds, so that a teardown need not know how far the making came.

pub mod cgroup;
pub mod namespaces;
pub mod network;
pub mod pod_files;
pub mod sandbox;
pub mod sandbox_container;
