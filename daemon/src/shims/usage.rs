// SPDX-License-Identifier: Apache-2.0
//! What a shim's statistics say, in the terms of this daemon. Shims write containerd's messages for
//! the host's cgroup version, whatever the guest has.

use containerd_shim_protos::{cgroups::metrics as v1, cgroups_v2::metrics as v2};

use super::TaskStats;
use crate::cgroups::{CpuUsage, MemoryUsage, TaskUsage, Usage};

/// Limits as large as this mean "none": the kernel rounds its largest number down to pages.
const NO_LIMIT: u64 = 1 << 62;

impl TaskStats {
    /// The statistics as a cgroup's usage.
    #[must_use]
    pub fn usage(&self) -> Usage {
        match self {
            Self::V1(metrics) => Usage {
                cpu: metrics.cpu.as_ref().map(cpu_v1),
                memory: metrics.memory.as_ref().map(|memory| {
                    let kills = metrics.memory_oom_control.as_ref().map_or(0, |o| o.oom_kill);
                    MemoryUsage { oom_kills: kills, ..memory_v1(memory) }
                }),
                tasks: metrics.pids.as_ref().map(|p| tasks(p.current, p.limit)),
                ..Usage::default()
            },
            Self::V2(metrics) => Usage {
                cpu: metrics.cpu.as_ref().map(cpu_v2),
                memory: metrics.memory.as_ref().map(|memory| {
                    let kills = metrics.memory_events.as_ref().map_or(0, |e| e.oom_kill);
                    MemoryUsage { oom_kills: kills, ..memory_v2(memory) }
                }),
                tasks: metrics.pids.as_ref().map(|p| tasks(p.current, p.limit)),
                ..Usage::default()
            },
        }
    }
}

fn limit(value: u64) -> Option<u64> {
    (1..NO_LIMIT).contains(&value).then_some(value)
}

fn tasks(current: u64, most: u64) -> TaskUsage {
    TaskUsage { current, limit: limit(most) }
}

fn cpu_v1(cpu: &v1::CPUStat) -> CpuUsage {
    let (usage, throttling) = (&cpu.usage, &cpu.throttling);
    CpuUsage {
        total_ns: usage.total,
        user_ns: usage.user,
        system_ns: usage.kernel,
        periods: throttling.periods,
        throttled_periods: throttling.throttled_periods,
        throttled_ns: throttling.throttled_time,
    }
}

fn memory_v1(memory: &v1::MemoryStat) -> MemoryUsage {
    let usage = memory.usage.usage;
    MemoryUsage {
        usage,
        working_set: usage.saturating_sub(memory.total_inactive_file.max(memory.inactive_file)),
        limit: limit(memory.usage.limit),
        rss: memory.total_rss.max(memory.rss),
        cache: memory.total_cache.max(memory.cache),
        mapped_file: memory.total_mapped_file.max(memory.mapped_file),
        kernel: memory.kernel.usage,
        peak: memory.usage.max,
        limit_hits: memory.usage.failcnt,
        swap: memory.swap.as_ref().map(|swap| swap.usage.saturating_sub(usage)),
        swap_limit: None,
        page_faults: memory.total_pg_fault.max(memory.pg_fault),
        major_page_faults: memory.total_pg_maj_fault.max(memory.pg_maj_fault),
        oom_kills: 0,
    }
}

fn cpu_v2(cpu: &v2::CPUStat) -> CpuUsage {
    CpuUsage {
        total_ns: cpu.usage_usec.saturating_mul(1000),
        user_ns: cpu.user_usec.saturating_mul(1000),
        system_ns: cpu.system_usec.saturating_mul(1000),
        periods: cpu.nr_periods,
        throttled_periods: cpu.nr_throttled,
        throttled_ns: cpu.throttled_usec.saturating_mul(1000),
    }
}

fn memory_v2(memory: &v2::MemoryStat) -> MemoryUsage {
    MemoryUsage {
        usage: memory.usage,
        working_set: memory.usage.saturating_sub(memory.inactive_file),
        limit: limit(memory.usage_limit),
        rss: memory.anon,
        cache: memory.file,
        mapped_file: memory.file_mapped,
        kernel: memory.slab.saturating_add(memory.kernel_stack),
        peak: memory.max_usage,
        limit_hits: 0,
        swap: Some(memory.swap_usage),
        swap_limit: limit(memory.swap_limit),
        page_faults: memory.pgfault,
        major_page_faults: memory.pgmajfault,
        oom_kills: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_of_both_versions_tell_the_same() {
        let mut old = v1::Metrics::new();
        old.cpu.mut_or_insert_default().usage.mut_or_insert_default().total = 5_000;
        let memory = old.memory.mut_or_insert_default();
        memory.usage = Some(v1::MemoryEntry {
            usage: 100,
            limit: 0x7fff_ffff_ffff_f000,
            ..Default::default()
        })
        .into();
        memory.inactive_file = 30;
        let mut new = v2::Metrics::new();
        new.cpu.mut_or_insert_default().usage_usec = 5;
        let memory = new.memory.mut_or_insert_default();
        (memory.usage, memory.inactive_file, memory.usage_limit) = (100, 30, u64::MAX);
        for stats in [TaskStats::V1(Box::new(old)), TaskStats::V2(Box::new(new))] {
            let usage = stats.usage();
            assert_eq!(usage.cpu.unwrap().total_ns, 5_000);
            let memory = usage.memory.unwrap();
            assert_eq!((memory.usage, memory.working_set, memory.limit), (100, 70, None));
        }
    }
}
