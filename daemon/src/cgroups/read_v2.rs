// SPDX-License-Identifier: Apache-2.0
//! Usage from cgroup v2: one directory has it all.

use std::path::Path;

use super::{
    read_v1::page_sizes,
    text::{Files, device, pairs, psi, value},
    usage::{CpuUsage, Detail, DeviceIo, HugetlbUsage, MemoryUsage, Pressure, TaskUsage, Usage},
};

pub(super) fn read(files: &mut Files, at: &Path, detail: Detail) -> Usage {
    let mut usage = Usage {
        cpu: files.read(at, "cpu.stat").and_then(cpu_stat),
        memory: memory_usage(files, at, detail),
        pressure: Pressure {
            cpu: files.read(at, "cpu.pressure").and_then(psi),
            memory: files.read(at, "memory.pressure").and_then(psi),
            io: files.read(at, "io.pressure").and_then(psi),
        },
        ..Usage::default()
    };
    if detail != Detail::Container {
        usage.tasks = tasks(files, at);
    }
    if detail == Detail::Metrics {
        usage.io = files.read(at, "io.stat").map(io_stat).unwrap_or_default();
        usage.hugetlb = hugetlb(files, at);
    }
    usage
}

fn cpu_stat(text: &str) -> Option<CpuUsage> {
    let mut usage = CpuUsage::default();
    let mut seen = false;
    for (key, value) in pairs(text) {
        let ns = value.saturating_mul(1000);
        match key {
            "usage_usec" => (usage.total_ns, seen) = (ns, true),
            "user_usec" => usage.user_ns = ns,
            "system_usec" => usage.system_ns = ns,
            "nr_periods" => usage.periods = value,
            "nr_throttled" => usage.throttled_periods = value,
            "throttled_usec" => usage.throttled_ns = ns,
            _ => {}
        }
    }
    seen.then_some(usage)
}

fn memory_usage(files: &mut Files, at: &Path, detail: Detail) -> Option<MemoryUsage> {
    let usage = files.number(at, "memory.current")?;
    let mut memory = memory_stat(files.read(at, "memory.stat")?, usage);
    memory.limit = files.limit(at, "memory.max").flatten();
    memory.swap = files.number(at, "memory.swap.current");
    memory.swap_limit = files.limit(at, "memory.swap.max").flatten();
    if detail == Detail::Metrics {
        // There from kernel 5.19 on; what is used now is then the best that is known.
        memory.peak = files.number(at, "memory.peak").unwrap_or(usage);
        if let Some(text) = files.read(at, "memory.events") {
            memory.limit_hits = value(text, "max").unwrap_or_default();
            memory.oom_kills = value(text, "oom_kill").unwrap_or_default();
        }
    }
    Some(memory)
}

fn memory_stat(text: &str, usage: u64) -> MemoryUsage {
    let mut memory = MemoryUsage { usage, ..MemoryUsage::default() };
    let (mut inactive, mut kernel, mut kernel_parts) = (0, None, 0);
    for (key, value) in pairs(text) {
        match key {
            "anon" => memory.rss = value,
            "file" => memory.cache = value,
            "file_mapped" => memory.mapped_file = value,
            "inactive_file" => inactive = value,
            "pgfault" => memory.page_faults = value,
            "pgmajfault" => memory.major_page_faults = value,
            "kernel" => kernel = Some(value),
            // Before kernel 5.18 there is no sum.
            "kernel_stack" | "slab" | "pagetables" | "percpu" => kernel_parts += value,
            _ => {}
        }
    }
    memory.kernel = kernel.unwrap_or(kernel_parts);
    memory.working_set = usage.saturating_sub(inactive);
    memory
}

fn tasks(files: &mut Files, at: &Path) -> Option<TaskUsage> {
    let current = files.number(at, "pids.current")?;
    Some(TaskUsage { current, limit: files.limit(at, "pids.max").flatten() })
}

/// Lines such as `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`.
fn io_stat(text: &str) -> Vec<DeviceIo> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let mut io = DeviceIo { device: device(words.next()?)?, ..DeviceIo::default() };
        for word in words {
            let Some((key, Ok(value))) = word.split_once('=').map(|(k, v)| (k, v.parse())) else {
                continue;
            };
            match key {
                "rbytes" => io.read_bytes = value,
                "wbytes" => io.write_bytes = value,
                "rios" => io.reads = value,
                "wios" => io.writes = value,
                _ => {}
            }
        }
        Some(io)
    };
    text.lines().filter_map(line).collect()
}

fn hugetlb(files: &mut Files, at: &Path) -> Vec<HugetlbUsage> {
    let sizes = page_sizes(at, ".current");
    let of_size = |page_size: String| {
        let usage = files.number(at, &format!("hugetlb.{page_size}.current")).unwrap_or_default();
        // v2 keeps no highest value.
        HugetlbUsage { page_size, usage, peak: usage }
    };
    sizes.into_iter().map(of_size).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A container's files as kernel 6.1 shows them.
    const FILES: [(&str, &str); 13] = [
        (
            "cpu.stat",
            "usage_usec 2500\nuser_usec 1500\nsystem_usec 1000\nnr_periods 9\nnr_throttled 2\n\
             throttled_usec 77\nnr_bursts 0\nburst_usec 0\n",
        ),
        (
            "memory.stat",
            "anon 1048576\nfile 5242880\nkernel 65536\nkernel_stack 16384\nslab 4096\n\
             file_mapped 12288\ninactive_file 2097152\npgfault 321\npgmajfault 7\n",
        ),
        ("memory.current", "8388608\n"),
        ("memory.max", "67108864\n"),
        ("memory.peak", "9000000\n"),
        ("memory.swap.current", "4096\n"),
        ("memory.swap.max", "max\n"),
        ("memory.events", "low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n"),
        ("pids.current", "3\n"),
        ("pids.max", "max\n"),
        ("io.stat", "254:0 rbytes=4096 wbytes=512 rios=2 wios=1 dbytes=0 dios=0\n8:16 \n"),
        (
            "io.pressure",
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=4\n",
        ),
        ("hugetlb.2MB.current", "2097152\n"),
    ];

    fn recorded() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in FILES {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn every_file_of_a_container_is_made_sense_of() {
        let dir = recorded();
        let usage = read(&mut Files::default(), dir.path(), Detail::Metrics);
        let cpu = CpuUsage {
            total_ns: 2_500_000,
            user_ns: 1_500_000,
            system_ns: 1_000_000,
            periods: 9,
            throttled_periods: 2,
            throttled_ns: 77_000,
        };
        assert_eq!(usage.cpu, Some(cpu));
        let memory = usage.memory.unwrap();
        assert_eq!((memory.usage, memory.working_set), (8 << 20, 6 << 20));
        assert_eq!((memory.limit, memory.peak), (Some(64 << 20), 9_000_000));
        assert_eq!((memory.swap, memory.swap_limit), (Some(4096), None));
        assert_eq!((memory.kernel, memory.limit_hits, memory.oom_kills), (65536, 12, 1));
        assert_eq!(usage.tasks, Some(TaskUsage { current: 3, limit: None }));
        assert_eq!((usage.io.len(), usage.io[0].reads), (2, 2));
        assert_eq!(usage.pressure.io.unwrap().full.total_ns, 4000);
        assert_eq!(usage.pressure.cpu, None);
        assert_eq!(usage.hugetlb[0].page_size, "2MB");
    }

    #[test]
    fn kernel_memory_is_summed_up_where_the_kernel_does_not() {
        let memory = memory_stat("kernel_stack 16384\nslab 4096\npagetables 1024\n", 1 << 20);
        assert_eq!(memory.kernel, 21504);
    }

    #[test]
    fn a_cgroup_that_is_gone_has_no_usage() {
        let usage = read(&mut Files::default(), Path::new("/nowhere"), Detail::Metrics);
        assert_eq!(usage, Usage::default());
    }
}
