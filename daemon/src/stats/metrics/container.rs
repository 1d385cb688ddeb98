// SPDX-License-Identifier: Apache-2.0

use super::{Sample, Subject, emit::Emitter, table::*};
use crate::{
    cgroups::Usage,
    config::PodMetricGroup,
    pods::spec::Resources,
    stats::{FilesystemCapacity, FilesystemUsage, ProcessCounts},
};

/// Period of the CPU quota where none was asked for, in microseconds: the kernel's.
const PERIOD: u64 = 100_000;
/// CPU shares where none were asked for: the kernel's.
const SHARES: u64 = 1024;

/// What is known of a running container.
#[derive(Debug, Clone)]
pub struct ContainerFacts<'a> {
    /// Values of the shared labels.
    pub subject: &'a Subject,
    /// From its cgroup, with [`Detail::Metrics`](crate::cgroups::Detail::Metrics).
    pub usage: &'a Usage,
    /// From its processes.
    pub processes: ProcessCounts,
    /// Its writable layer.
    pub writable: Option<&'a FilesystemUsage>,
    /// The file system of the writable layer.
    pub filesystem: &'a FilesystemCapacity,
    /// Resources in force.
    pub resources: &'a Resources,
    /// When it was started, nanoseconds since the Unix epoch.
    pub started_at_ns: i64,
    /// When it was looked at, nanoseconds since the Unix epoch.
    pub at_ns: i64,
}

/// Samples of a container, for the groups that are served.
#[must_use]
pub fn container_metrics(groups: &[PodMetricGroup], facts: &ContainerFacts<'_>) -> Vec<Sample> {
    let mut emitter = Emitter { subject: facts.subject, groups, samples: Vec::new() };
    emitter.usage(facts.usage);
    filesystem(&mut emitter, facts);
    processes(&mut emitter, facts.processes);
    spec(&mut emitter, facts.resources);
    emitter.add(&START_TIME, &[], seconds(facts.started_at_ns));
    emitter.add(&LAST_SEEN, &[], seconds(facts.at_ns));
    emitter.samples
}

fn filesystem(emitter: &mut Emitter<'_>, facts: &ContainerFacts<'_>) {
    let whole = facts.filesystem;
    let used = facts.writable.map_or(0, |writable| writable.used_bytes);
    for (metric, value) in [
        (&FS_USAGE, used),
        (&FS_LIMIT, whole.bytes),
        (&FS_INODES, whole.inodes),
        (&FS_INODES_FREE, whole.inodes_free),
    ] {
        emitter.add(metric, &[&whole.device], value);
    }
}

fn processes(emitter: &mut Emitter<'_>, counts: ProcessCounts) {
    emitter.add(&PROCESSES, &[], counts.processes);
    emitter.add(&FILE_DESCRIPTORS, &[], counts.descriptors);
    emitter.add(&SOCKETS, &[], counts.sockets);
    if let Some(limit) = counts.descriptor_limit {
        emitter.add(&ULIMITS_SOFT, &["max_open_files"], limit);
    }
}

fn spec(emitter: &mut Emitter<'_>, resources: &Resources) {
    // 0 and below mean "not set".
    let set = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    emitter.add(&SPEC_CPU_PERIOD, &[], set(resources.cpu_period).unwrap_or(PERIOD));
    emitter.add(&SPEC_CPU_SHARES, &[], set(resources.cpu_shares).unwrap_or(SHARES));
    if let Some(quota) = set(resources.cpu_quota) {
        emitter.add(&SPEC_CPU_QUOTA, &[], quota);
    }
    let memory = set(resources.memory_limit).unwrap_or_default();
    let swap = set(resources.memory_swap_limit).unwrap_or_default();
    emitter.add(&SPEC_MEMORY_LIMIT, &[], memory);
    emitter.add(&SPEC_MEMORY_SWAP_LIMIT, &[], swap);
    // CRI has no field for it; clients that want one write the v2 file.
    let low = resources.unified.get("memory.low").and_then(|text| text.trim().parse().ok());
    emitter.add(&SPEC_MEMORY_RESERVATION, &[], low.unwrap_or_default());
}

fn seconds(ns: i64) -> u64 {
    u64::try_from(ns / 1_000_000_000).unwrap_or_default()
}
