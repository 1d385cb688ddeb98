// SPDX-License-Identifier: Apache-2.0
//! What a container used, in the messages that containerd expects: one type for hosts on cgroup
//! v1, another for v2.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use containerd_shim_protos::{cgroups::metrics as v1, cgroups_v2::metrics as v2};
use protobuf::{Message, well_known_types::any::Any};

use super::Cgroups;

/// Reads the container's counters.
pub(crate) fn metrics(cgroups: &Cgroups) -> io::Result<Any> {
    if cgroups.v1_dir("memory").or_else(|| cgroups.v1_dir("cpuacct")).is_some() {
        return pack("io.containerd.cgroups.v1.Metrics", &read_v1(cgroups));
    }
    let gone = || io::Error::new(io::ErrorKind::NotFound, "its cgroup is gone");
    let dir = cgroups.v2_dir().ok_or_else(gone)?;
    pack("io.containerd.cgroups.v2.Metrics", &read_v2(&dir))
}

fn pack(name: &str, message: &impl Message) -> io::Result<Any> {
    let value = message.write_to_bytes().map_err(io::Error::other)?;
    Ok(Any { type_url: name.to_owned(), value, ..Any::default() })
}

/// A file with one number; "max" and anything unreadable count as none.
fn number(dir: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(dir.join(file)).ok()?.trim().parse().ok()
}

/// A file of `key value` lines.
fn table(dir: &Path, file: &str) -> HashMap<String, u64> {
    let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
    let line = |l: &str| {
        let (key, value) = l.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

fn get(table: &HashMap<String, u64>, key: &str) -> u64 {
    table.get(key).copied().unwrap_or_default()
}

fn read_v1(cgroups: &Cgroups) -> v1::Metrics {
    let dir = |controller| cgroups.v1_dir(controller);
    let mut metrics = v1::Metrics::new();
    metrics.cpu = dir("cpuacct").map(|d| cpu_v1(&d, dir("cpu"))).into();
    metrics.memory = dir("memory").map(|d| memory_v1(&d)).into();
    metrics.memory_oom_control = dir("memory").map(|d| oom_v1(&d)).into();
    metrics.pids = dir("pids").map(|d| pids_v1(&d)).into();
    metrics
}

fn cpu_v1(cpuacct: &Path, cpu: Option<PathBuf>) -> v1::CPUStat {
    let mut usage = v1::CPUUsage::new();
    usage.total = number(cpuacct, "cpuacct.usage").unwrap_or_default();
    usage.user = number(cpuacct, "cpuacct.usage_user").unwrap_or_default();
    usage.kernel = number(cpuacct, "cpuacct.usage_sys").unwrap_or_default();
    let mut stat = v1::CPUStat { usage: Some(usage).into(), ..v1::CPUStat::default() };
    if let Some(dir) = cpu {
        let table = table(&dir, "cpu.stat");
        stat.throttling = Some(v1::Throttle {
            periods: get(&table, "nr_periods"),
            throttled_periods: get(&table, "nr_throttled"),
            throttled_time: get(&table, "throttled_time"),
            ..v1::Throttle::default()
        })
        .into();
    }
    stat
}

fn memory_v1(dir: &Path) -> v1::MemoryStat {
    let stat = table(dir, "memory.stat");
    let entry = |prefix: &str| {
        let file = |suffix: &str| number(dir, &format!("{prefix}.{suffix}")).unwrap_or_default();
        Some(v1::MemoryEntry {
            usage: file("usage_in_bytes"),
            max: file("max_usage_in_bytes"),
            limit: file("limit_in_bytes"),
            failcnt: file("failcnt"),
            ..v1::MemoryEntry::default()
        })
        .into()
    };
    v1::MemoryStat {
        usage: entry("memory"),
        swap: entry("memory.memsw"),
        kernel: entry("memory.kmem"),
        cache: get(&stat, "cache"),
        rss: get(&stat, "rss"),
        rss_huge: get(&stat, "rss_huge"),
        mapped_file: get(&stat, "mapped_file"),
        dirty: get(&stat, "dirty"),
        pg_fault: get(&stat, "pgfault"),
        pg_maj_fault: get(&stat, "pgmajfault"),
        inactive_anon: get(&stat, "inactive_anon"),
        active_anon: get(&stat, "active_anon"),
        inactive_file: get(&stat, "inactive_file"),
        active_file: get(&stat, "active_file"),
        total_rss: get(&stat, "total_rss"),
        total_cache: get(&stat, "total_cache"),
        total_pg_fault: get(&stat, "total_pgfault"),
        total_pg_maj_fault: get(&stat, "total_pgmajfault"),
        total_inactive_file: get(&stat, "total_inactive_file"),
        total_active_file: get(&stat, "total_active_file"),
        ..v1::MemoryStat::default()
    }
}

fn oom_v1(dir: &Path) -> v1::MemoryOomControl {
    let control = table(dir, "memory.oom_control");
    v1::MemoryOomControl {
        oom_kill_disable: get(&control, "oom_kill_disable"),
        under_oom: get(&control, "under_oom"),
        oom_kill: get(&control, "oom_kill"),
        ..v1::MemoryOomControl::default()
    }
}

fn pids_v1(dir: &Path) -> v1::PidsStat {
    v1::PidsStat {
        current: number(dir, "pids.current").unwrap_or_default(),
        limit: number(dir, "pids.max").unwrap_or_default(),
        ..v1::PidsStat::default()
    }
}

fn read_v2(dir: &Path) -> v2::Metrics {
    let mut metrics = v2::Metrics::new();
    let cpu = table(dir, "cpu.stat");
    metrics.cpu = Some(v2::CPUStat {
        usage_usec: get(&cpu, "usage_usec"),
        user_usec: get(&cpu, "user_usec"),
        system_usec: get(&cpu, "system_usec"),
        nr_periods: get(&cpu, "nr_periods"),
        nr_throttled: get(&cpu, "nr_throttled"),
        throttled_usec: get(&cpu, "throttled_usec"),
        ..v2::CPUStat::default()
    })
    .into();
    metrics.memory = Some(memory_v2(dir)).into();
    metrics.pids = Some(v2::PidsStat {
        current: number(dir, "pids.current").unwrap_or_default(),
        limit: number(dir, "pids.max").unwrap_or_default(),
        ..v2::PidsStat::default()
    })
    .into();
    let events = table(dir, "memory.events");
    metrics.memory_events = Some(v2::MemoryEvents {
        low: get(&events, "low"),
        high: get(&events, "high"),
        max: get(&events, "max"),
        oom: get(&events, "oom"),
        oom_kill: get(&events, "oom_kill"),
        ..v2::MemoryEvents::default()
    })
    .into();
    metrics
}

fn memory_v2(dir: &Path) -> v2::MemoryStat {
    let stat = table(dir, "memory.stat");
    v2::MemoryStat {
        anon: get(&stat, "anon"),
        file: get(&stat, "file"),
        file_mapped: get(&stat, "file_mapped"),
        file_dirty: get(&stat, "file_dirty"),
        inactive_anon: get(&stat, "inactive_anon"),
        active_anon: get(&stat, "active_anon"),
        inactive_file: get(&stat, "inactive_file"),
        active_file: get(&stat, "active_file"),
        unevictable: get(&stat, "unevictable"),
        pgfault: get(&stat, "pgfault"),
        pgmajfault: get(&stat, "pgmajfault"),
        usage: number(dir, "memory.current").unwrap_or_default(),
        usage_limit: number(dir, "memory.max").unwrap_or(u64::MAX),
        swap_usage: number(dir, "memory.swap.current").unwrap_or_default(),
        swap_limit: number(dir, "memory.swap.max").unwrap_or(u64::MAX),
        ..v2::MemoryStat::default()
    }
}
