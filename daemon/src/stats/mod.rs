// SPDX-License-Identifier: Apache-2.0
//! Resource usage of containers and pods, and the metrics that replace cAdvisor's.
//!
//! Values only: what CRI calls them is translated elsewhere. Reading starts no process.

mod filesystem;
mod interfaces;
pub mod metrics;
mod processes;
mod rates;

pub use filesystem::{FilesystemCapacity, FilesystemUsage};
pub use interfaces::{InterfaceCounters, Traffic, read_interfaces};
pub use processes::ProcessCounts;
pub use rates::Rates;

use crate::cgroups::Usage;

/// Resource usage of a container.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerStats {
    /// When it was read, nanoseconds since the Unix epoch.
    pub at_ns: i64,
    /// From its cgroup.
    pub usage: Usage,
    /// Billionths of a CPU used lately; `None` until there are two readings.
    pub nano_cores: Option<u64>,
    /// Its writable layer; `None` where it is not measured.
    pub writable: Option<FilesystemUsage>,
}

/// Resource usage of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct PodStats {
    /// When it was read, nanoseconds since the Unix epoch.
    pub at_ns: i64,
    /// From the pod's cgroup, containers included.
    pub usage: Usage,
    /// Billionths of a CPU used lately; `None` until there are two readings.
    pub nano_cores: Option<u64>,
    /// Interfaces but loopback, the default one first. Empty with host networking.
    pub interfaces: Vec<InterfaceCounters>,
}
