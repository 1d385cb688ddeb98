// SPDX-License-Identifier: Apache-2.0
//! Usage from cgroup v1: a hierarchy for each controller.

use std::path::{Path, PathBuf};

use super::{
    text::{Files, below_no_limit, device, pairs, value},
    tree::Hierarchies,
    usage::{CpuUsage, Detail, DeviceIo, HugetlbUsage, MemoryUsage, TaskUsage, Usage},
};

/// Ticks a second in which `cpuacct.stat` counts on every architecture Linux has today.
const TICKS: u64 = 100;

pub(super) fn read(
    hierarchies: &Hierarchies,
    files: &mut Files,
    path: &str,
    detail: Detail,
) -> Usage {
    let directory = |controller| hierarchies.directory(controller, path);
    let (cpuacct, cpu) = (directory("cpuacct"), directory("cpu"));
    let mut usage = Usage {
        cpu: cpuacct.and_then(|at| cpu_usage(files, &at, cpu.as_deref(), detail)),
        memory: directory("memory").and_then(|at| memory_usage(files, &at, detail)),
        ..Usage::default()
    };
    if detail != Detail::Container {
        usage.tasks = directory("pids").and_then(|at| tasks(files, &at));
    }
    if detail == Detail::Metrics {
        usage.io = directory("blkio").map(|at| io(files, &at)).unwrap_or_default();
        usage.hugetlb = directory("hugetlb").map(|at| hugetlb(files, &at)).unwrap_or_default();
    }
    usage
}

fn cpu_usage(
    files: &mut Files,
    cpuacct: &Path,
    cpu: Option<&Path>,
    detail: Detail,
) -> Option<CpuUsage> {
    let mut usage =
        CpuUsage { total_ns: files.number(cpuacct, "cpuacct.usage")?, ..CpuUsage::default() };
    if detail != Detail::Metrics {
        return Some(usage);
    }
    let user = files.number(cpuacct, "cpuacct.usage_user");
    let system = files.number(cpuacct, "cpuacct.usage_sys");
    (usage.user_ns, usage.system_ns) = match (user, system) {
        (Some(user), Some(system)) => (user, system),
        _ => files.read(cpuacct, "cpuacct.stat").map(ticks).unwrap_or_default(),
    };
    if let Some(text) = cpu.and_then(|cpu| files.read(cpu, "cpu.stat")) {
        throttling(text, &mut usage);
    }
    Some(usage)
}

fn ticks(text: &str) -> (u64, u64) {
    let ns = |key| value(text, key).unwrap_or_default().saturating_mul(1_000_000_000 / TICKS);
    (ns("user"), ns("system"))
}

fn throttling(text: &str, usage: &mut CpuUsage) {
    for (key, value) in pairs(text) {
        match key {
            "nr_periods" => usage.periods = value,
            "nr_throttled" => usage.throttled_periods = value,
            "throttled_time" => usage.throttled_ns = value,
            _ => {}
        }
    }
}

fn memory_usage(files: &mut Files, at: &Path, detail: Detail) -> Option<MemoryUsage> {
    let usage = files.number(at, "memory.usage_in_bytes")?;
    let mut memory = memory_stat(files.read(at, "memory.stat")?, usage);
    if detail == Detail::Metrics {
        let mut number = |name| files.number(at, name).unwrap_or_default();
        memory.peak = number("memory.max_usage_in_bytes");
        memory.limit_hits = number("memory.failcnt");
        memory.kernel = number("memory.kmem.usage_in_bytes");
        let events = files.read(at, "memory.oom_control");
        memory.oom_kills = events.and_then(|text| value(text, "oom_kill")).unwrap_or_default();
    }
    Some(memory)
}

/// `memory.stat` alone has usage and limits of the whole subtree.
fn memory_stat(text: &str, usage: u64) -> MemoryUsage {
    let mut memory = MemoryUsage { usage, working_set: usage, ..MemoryUsage::default() };
    let (mut memsw, mut inactive) = (None, 0);
    for (key, value) in pairs(text) {
        match key {
            "total_rss" => memory.rss = value,
            "total_cache" => memory.cache = value,
            "total_mapped_file" => memory.mapped_file = value,
            "total_swap" => memory.swap = Some(value),
            "total_pgfault" => memory.page_faults = value,
            "total_pgmajfault" => memory.major_page_faults = value,
            "total_inactive_file" => inactive = value,
            "hierarchical_memory_limit" => memory.limit = below_no_limit(value),
            "hierarchical_memsw_limit" => memsw = below_no_limit(value),
            _ => {}
        }
    }
    memory.working_set = usage.saturating_sub(inactive);
    // The limit is of memory and swap together.
    memory.swap_limit = memsw.map(|memsw| memsw.saturating_sub(memory.limit.unwrap_or(memsw)));
    memory
}

fn tasks(files: &mut Files, at: &Path) -> Option<TaskUsage> {
    let current = files.number(at, "pids.current")?;
    Some(TaskUsage { current, limit: files.limit(at, "pids.max").flatten() })
}

fn io(files: &mut Files, at: &Path) -> Vec<DeviceIo> {
    let mut devices = Vec::new();
    // Which of the two counts depends on the device's scheduler.
    for names in [
        ["blkio.bfq.io_service_bytes_recursive", "blkio.bfq.io_serviced_recursive"],
        ["blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_serviced_recursive"],
    ] {
        if let Some(text) = files.read(at, names[0]) {
            blkio(text, &mut devices, |device| (&mut device.read_bytes, &mut device.write_bytes));
        }
        if let Some(text) = files.read(at, names[1]) {
            blkio(text, &mut devices, |device| (&mut device.reads, &mut device.writes));
        }
        if !devices.is_empty() {
            break;
        }
    }
    devices
}

/// Lines such as `8:0 Read 4096`, and a last line without a device.
fn blkio(
    text: &str,
    devices: &mut Vec<DeviceIo>,
    fields: impl Fn(&mut DeviceIo) -> (&mut u64, &mut u64),
) {
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(number), Some(operation), Some(value)) =
            (words.next().and_then(device), words.next(), words.next())
        else {
            continue;
        };
        let value = value.parse().unwrap_or_default();
        let at = devices.iter().position(|known| known.device == number).unwrap_or_else(|| {
            devices.push(DeviceIo { device: number, ..DeviceIo::default() });
            devices.len() - 1
        });
        let (read, write) = fields(&mut devices[at]);
        match operation {
            "Read" => *read = value,
            "Write" => *write = value,
            _ => {}
        }
    }
}

fn hugetlb(files: &mut Files, at: &Path) -> Vec<HugetlbUsage> {
    let sizes = page_sizes(at, ".max_usage_in_bytes");
    let of_size = |page_size: String| {
        let mut number = |what| {
            let name = format!("hugetlb.{page_size}.{what}");
            files.number(at, &name).unwrap_or_default()
        };
        let (usage, peak) = (number("usage_in_bytes"), number("max_usage_in_bytes"));
        HugetlbUsage { page_size, usage, peak }
    };
    sizes.into_iter().map(of_size).collect()
}

/// Sizes of huge pages, from the files `hugetlb.SIZE` + `suffix`.
pub(super) fn page_sizes(at: &Path, suffix: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(at) else { return Vec::new() };
    let mut sizes: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let name = PathBuf::from(entry.file_name());
            let size = name.to_str()?.strip_prefix("hugetlb.")?.strip_suffix(suffix)?;
            (!size.contains('.')).then(|| size.to_owned())
        })
        .collect();
    sizes.sort();
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY_STAT: &str = "cache 4096\nrss 8192\ninactive_file 1\n\
        hierarchical_memory_limit 67108864\nhierarchical_memsw_limit 100663296\n\
        total_cache 5242880\ntotal_rss 1048576\ntotal_mapped_file 12288\ntotal_swap 4096\n\
        total_pgfault 321\ntotal_pgmajfault 7\ntotal_inactive_file 2097152\n";

    #[test]
    fn memory_counts_the_whole_subtree() {
        let memory = memory_stat(MEMORY_STAT, 8 << 20);
        assert_eq!((memory.rss, memory.cache, memory.mapped_file), (1 << 20, 5 << 20, 12288));
        assert_eq!(memory.working_set, 6 << 20);
        assert_eq!((memory.limit, memory.available()), (Some(64 << 20), Some(58 << 20)));
        assert_eq!((memory.swap, memory.swap_limit), (Some(4096), Some(32 << 20)));
        assert_eq!(memory.swap_available(), Some((32 << 20) - 4096));
        assert_eq!((memory.page_faults, memory.major_page_faults), (321, 7));
    }

    #[test]
    fn a_working_set_is_never_below_nothing() {
        assert_eq!(memory_stat(MEMORY_STAT, 4096).working_set, 0);
    }

    #[test]
    fn a_cgroup_without_limits_has_none() {
        let text = "hierarchical_memory_limit 9223372036854771712\n\
                    hierarchical_memsw_limit 9223372036854771712\ntotal_swap 0\n";
        let memory = memory_stat(text, 4096);
        assert_eq!((memory.limit, memory.swap_limit), (None, None));
    }

    #[test]
    fn throttling_and_ticks_are_in_nanoseconds() {
        let mut usage = CpuUsage::default();
        throttling("nr_periods 10\nnr_throttled 3\nthrottled_time 1234567\n", &mut usage);
        let found = (usage.periods, usage.throttled_periods, usage.throttled_ns);
        assert_eq!(found, (10, 3, 1_234_567));
        assert_eq!(ticks("user 150\nsystem 25\n"), (1_500_000_000, 250_000_000));
    }

    #[test]
    fn traffic_is_kept_by_device() {
        let mut devices = Vec::new();
        let text = "254:0 Read 4096\n254:0 Write 512\n254:0 Sync 1\n8:16 Read 7\nTotal 4615\n";
        blkio(text, &mut devices, |device| (&mut device.read_bytes, &mut device.write_bytes));
        blkio("254:0 Read 2\n254:0 Write 1\nTotal 3\n", &mut devices, |device| {
            (&mut device.reads, &mut device.writes)
        });
        let first =
            DeviceIo { device: (254, 0), read_bytes: 4096, write_bytes: 512, reads: 2, writes: 1 };
        let second = DeviceIo { device: (8, 16), read_bytes: 7, ..DeviceIo::default() };
        assert_eq!(devices, [first, second]);
    }
}
