// SPDX-License-Identifier: Apache-2.0

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{
    cgroups::{CpuUsage, DeviceIo, HugetlbUsage, MemoryUsage, Pressure, Psi, TaskUsage, Usage},
    pods::spec::Resources,
    stats::{FilesystemCapacity, InterfaceCounters, ProcessCounts},
};

/// Names that every node's metrics must have.
const ALWAYS: &str = "cpu_cfs_periods_total cpu_cfs_throttled_periods_total
    cpu_cfs_throttled_seconds_total cpu_system_seconds_total cpu_usage_seconds_total
    cpu_user_seconds_total file_descriptors fs_inodes_free fs_inodes_total fs_limit_bytes
    fs_usage_bytes last_seen memory_cache memory_failcnt memory_failures_total
    memory_kernel_usage memory_mapped_file memory_max_usage_bytes memory_rss memory_swap
    memory_usage_bytes memory_working_set_bytes network_receive_bytes_total
    network_receive_errors_total network_receive_packets_total
    network_receive_packets_dropped_total network_transmit_bytes_total
    network_transmit_errors_total network_transmit_packets_total
    network_transmit_packets_dropped_total oom_events_total processes sockets
    spec_cpu_period spec_cpu_shares spec_memory_limit_bytes spec_memory_swap_limit_bytes
    start_time_seconds threads threads_max";

/// Names that appear once the container has done what they count.
const SOMETIMES: &str = "blkio_device_usage_total fs_reads_total fs_reads_bytes_total
    fs_writes_total fs_writes_bytes_total";

/// Names that depend on the host or the request.
const OPTIONAL: &str = "hugetlb_usage_bytes hugetlb_max_usage_bytes
    pressure_cpu_stalled_seconds_total pressure_cpu_waiting_seconds_total
    pressure_io_stalled_seconds_total pressure_io_waiting_seconds_total
    pressure_memory_stalled_seconds_total pressure_memory_waiting_seconds_total
    spec_cpu_quota spec_memory_reservation_limit_bytes ulimits_soft";

fn names(lists: &[&str]) -> BTreeSet<String> {
    let words = lists.iter().flat_map(|list| list.split_whitespace());
    words.map(|word| format!("container_{word}")).collect()
}

const EVERYTHING: &[PodMetricGroup] = &[PodMetricGroup::All];

fn busy() -> Usage {
    Usage {
        cpu: Some(CpuUsage { total_ns: 7_900_000_000, ..CpuUsage::default() }),
        memory: Some(MemoryUsage { page_faults: 11, ..MemoryUsage::default() }),
        tasks: Some(TaskUsage { current: 3, limit: None }),
        io: vec![DeviceIo { device: (4095, 7), read_bytes: 512, ..DeviceIo::default() }],
        hugetlb: vec![HugetlbUsage { page_size: "2MB".into(), ..HugetlbUsage::default() }],
        pressure: Pressure {
            cpu: Some(Psi::default()),
            memory: Some(Psi::default()),
            io: Some(Psi::default()),
        },
    }
}

/// A pod and its one container, on a host that tells everything or only what every host tells.
fn samples(usage: &Usage, groups: &[PodMetricGroup], resources: &Resources) -> Vec<Sample> {
    let pod = Subject { id: "/pods/a".into(), name: "p1".into(), ..Subject::default() };
    let container = Subject { container: "web".into(), image: "busybox".into(), ..pod.clone() };
    let eth0 = InterfaceCounters { name: "eth0".into(), ..InterfaceCounters::default() };
    let facts = PodFacts { subject: &pod, usage: Some(usage), interfaces: &[eth0] };
    let mut samples = pod_metrics(groups, &facts);
    let filesystem = FilesystemCapacity { device: "/dev/vda1".into(), ..Default::default() };
    samples.extend(container_metrics(
        groups,
        &ContainerFacts {
            subject: &container,
            usage,
            processes: ProcessCounts { descriptor_limit: Some(1024), ..ProcessCounts::default() },
            writable: None,
            filesystem: &filesystem,
            resources,
            started_at_ns: 5_000_000_000,
            at_ns: 9_999_999_999,
        },
    ));
    samples
}

#[test]
fn the_names_are_those_that_clients_know() {
    let described: BTreeSet<String> =
        descriptors(EVERYTHING).iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(described, names(&[ALWAYS, SOMETIMES, OPTIONAL]));
    assert_eq!(described.len(), descriptors(EVERYTHING).len(), "a name is there twice");
    assert_eq!((names(&[ALWAYS]).len(), names(&[ALWAYS, SOMETIMES]).len()), (40, 45));
    assert!(descriptors(EVERYTHING).iter().all(|metric| metric.help.ends_with('.')));
}

#[test]
fn every_metric_has_a_sample_in_a_busy_pod() {
    let resources = Resources { cpu_quota: 20_000, ..Resources::default() };
    let found: BTreeSet<&str> =
        samples(&busy(), EVERYTHING, &resources).iter().map(|s| s.metric.name).collect();
    for metric in descriptors(EVERYTHING) {
        assert!(found.contains(metric.name), "{} has no sample", metric.name);
    }
}

#[test]
fn an_idle_pod_on_a_plain_host_has_a_sample_of_all_that_is_always_there() {
    let usage =
        Usage { io: Vec::new(), hugetlb: Vec::new(), pressure: Pressure::default(), ..busy() };
    let samples = samples(&usage, EVERYTHING, &Resources::default());
    let found: BTreeSet<String> = samples.iter().map(|s| s.metric.name.to_owned()).collect();
    let missing: Vec<_> = names(&[ALWAYS]).difference(&found).cloned().collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn label_values_are_aligned_with_the_keys() {
    let mut seen: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
    for sample in samples(&busy(), EVERYTHING, &Resources::default()) {
        let keys: Vec<_> = sample.metric.label_keys().collect();
        assert_eq!(keys.len(), sample.labels.len(), "{}", sample.metric.name);
        seen.insert(sample.metric.name, keys.into_iter().zip(sample.labels).collect());
    }
    let label = |metric: &str, key: &str| seen[metric][key].as_str();
    assert_eq!(label("container_network_receive_bytes_total", "interface"), "eth0");
    assert_eq!(label("container_network_receive_bytes_total", "container"), "");
    assert_eq!(label("container_fs_usage_bytes", "device"), "/dev/vda1");
    assert_eq!(label("container_fs_usage_bytes", "image"), "busybox");
    assert_eq!(label("container_blkio_device_usage_total", "device"), "4095:7");
    assert_eq!(label("container_blkio_device_usage_total", "minor"), "7");
    assert_eq!(label("container_cpu_usage_seconds_total", "cpu"), "total");
    assert_eq!(label("container_memory_failures_total", "failure_type"), "pgmajfault");
}

#[test]
fn only_the_groups_asked_for_are_served() {
    let groups = [PodMetricGroup::Cpu, PodMetricGroup::Oom];
    let described: BTreeSet<&str> = descriptors(&groups).iter().map(|m| m.name).collect();
    assert_eq!(described.len(), 7);
    let samples = samples(&busy(), &groups, &Resources::default());
    let found: BTreeSet<&str> = samples.iter().map(|s| s.metric.name).collect();
    assert_eq!(found, described);
}

#[test]
fn units_are_those_of_the_names() {
    let samples = samples(&busy(), EVERYTHING, &Resources::default());
    let value = |name: &str| samples.iter().rev().find(|s| s.metric.name == name).unwrap().value;
    assert_eq!(value("container_cpu_usage_seconds_total"), 7);
    assert_eq!(value("container_start_time_seconds"), 5);
    assert_eq!(value("container_last_seen"), 9);
    assert_eq!(value("container_spec_cpu_period"), 100_000);
    assert_eq!(value("container_threads_max"), 0);
}
