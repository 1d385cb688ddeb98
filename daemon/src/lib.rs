// SPDX-License-Identifier: Apache-2.0
//! crisp: a Kubernetes container runtime with one shim process per pod.

mod handlers;
mod process_group;
mod sys;

pub mod cgroups;
pub mod cli;
pub mod config;
pub mod containers;
pub mod cri;
pub mod daemon;
pub mod files;
pub mod images;
pub mod logging;
pub mod metrics;
pub mod network;
pub mod nri;
pub mod pods;
pub mod rootfs;
pub mod server;
pub mod sessions;
pub mod shims;
pub mod stats;
pub mod store;
