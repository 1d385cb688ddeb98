// SPDX-License-Identifier: Apache-2.0
//! Resource usage of containers and pods, and the metrics that replace cAdvisor's.
//!
//! Values only: what CRI calls them is translated elsewhere. Reading starts no process.

mod collect;
mod filesystem;
mod interfaces;
pub mod metrics;
mod processes;
mod rates;
mod samples;

pub use collect::{Collector, ContainerReading, PodReading};
pub use filesystem::{FilesystemCapacity, FilesystemUsage};
pub use interfaces::{InterfaceCounters, Traffic, read_interfaces};
pub use processes::ProcessCounts;
pub use rates::Rates;
pub use samples::PodSamples;

use std::io;

use crate::cgroups::Usage;

/// Usage cannot be read at all. A thing that is gone is not an error: it is left out.
#[derive(Debug, thiserror::Error)]
pub enum StatsError {
    /// No thread to look into the network namespaces with.
    #[error("read network counters")]
    Network(#[source] io::Error),
    /// The work was broken off.
    #[error("read usage of pods and containers")]
    Aborted(#[source] tokio::task::JoinError),
}

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
