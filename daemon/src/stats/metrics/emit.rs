// SPDX-License-Identifier: Apache-2.0

use std::fs;

use super::{Sample, Subject, serves, table::*};
use crate::{
    cgroups::{CpuUsage, DeviceIo, HugetlbUsage, MemoryUsage, Pressure, Psi, TaskUsage, Usage},
    config::PodMetricGroup,
};

const NS: u64 = 1_000_000_000;

/// Collects the samples of one subject.
pub(super) struct Emitter<'a> {
    pub(super) subject: &'a Subject,
    pub(super) groups: &'a [PodMetricGroup],
    pub(super) samples: Vec<Sample>,
}

impl Emitter<'_> {
    /// Adds a sample, if its metric is served. `own` are the values of the metric's own labels.
    pub(super) fn add(&mut self, metric: &'static Descriptor, own: &[&str], value: u64) {
        debug_assert_eq!(own.len(), metric.own_keys.len(), "labels of {}", metric.name);
        if serves(self.groups, metric.group) {
            let labels = self.subject.values().into_iter().chain(own.iter().copied());
            self.samples.push(Sample {
                metric,
                labels: labels.map(str::to_owned).collect(),
                value,
            });
        }
    }

    /// All that a cgroup tells.
    pub(super) fn usage(&mut self, usage: &Usage) {
        if let Some(cpu) = &usage.cpu {
            self.cpu(cpu);
        }
        if let Some(memory) = &usage.memory {
            self.memory(memory);
        }
        if let Some(tasks) = &usage.tasks {
            self.tasks(*tasks);
        }
        self.io(&usage.io);
        self.hugetlb(&usage.hugetlb);
        self.pressure(&usage.pressure);
    }

    fn cpu(&mut self, cpu: &CpuUsage) {
        self.add(&CPU_USAGE, &["total"], cpu.total_ns / NS);
        self.add(&CPU_USER, &[], cpu.user_ns / NS);
        self.add(&CPU_SYSTEM, &[], cpu.system_ns / NS);
        self.add(&CFS_PERIODS, &[], cpu.periods);
        self.add(&CFS_THROTTLED_PERIODS, &[], cpu.throttled_periods);
        self.add(&CFS_THROTTLED_SECONDS, &[], cpu.throttled_ns / NS);
    }

    fn memory(&mut self, memory: &MemoryUsage) {
        for (metric, value) in [
            (&MEMORY_USAGE, memory.usage),
            (&MEMORY_WORKING_SET, memory.working_set),
            (&MEMORY_RSS, memory.rss),
            (&MEMORY_CACHE, memory.cache),
            (&MEMORY_MAPPED, memory.mapped_file),
            (&MEMORY_KERNEL, memory.kernel),
            (&MEMORY_PEAK, memory.peak),
            (&MEMORY_SWAP, memory.swap.unwrap_or_default()),
            (&MEMORY_FAILCNT, memory.limit_hits),
            (&OOM_EVENTS, memory.oom_kills),
        ] {
            self.add(metric, &[], value);
        }
        // The figures are of the whole subtree, which for a container is the container.
        for scope in ["container", "hierarchy"] {
            self.add(&MEMORY_FAILURES, &["pgfault", scope], memory.page_faults);
            self.add(&MEMORY_FAILURES, &["pgmajfault", scope], memory.major_page_faults);
        }
    }

    fn tasks(&mut self, tasks: TaskUsage) {
        self.add(&THREADS, &[], tasks.current);
        self.add(&THREADS_MAX, &[], tasks.limit.unwrap_or_default());
    }

    fn io(&mut self, devices: &[DeviceIo]) {
        if !serves(self.groups, PodMetricGroup::DiskIo) {
            return;
        }
        for io in devices {
            let (major, minor) = (io.device.0.to_string(), io.device.1.to_string());
            let device = device_name(io.device);
            self.add(&FS_READ_BYTES, &[&device], io.read_bytes);
            self.add(&FS_WRITE_BYTES, &[&device], io.write_bytes);
            self.add(&FS_READS, &[&device], io.reads);
            self.add(&FS_WRITES, &[&device], io.writes);
            for (operation, bytes) in [("Read", io.read_bytes), ("Write", io.write_bytes)] {
                self.add(&BLKIO_USAGE, &[&device, &major, &minor, operation], bytes);
            }
        }
    }

    fn hugetlb(&mut self, sizes: &[HugetlbUsage]) {
        for one in sizes {
            self.add(&HUGETLB_USAGE, &[&one.page_size], one.usage);
            self.add(&HUGETLB_PEAK, &[&one.page_size], one.peak);
        }
    }

    fn pressure(&mut self, pressure: &Pressure) {
        let both = [
            (pressure.cpu, &PRESSURE_CPU_WAITING, &PRESSURE_CPU_STALLED),
            (pressure.memory, &PRESSURE_MEMORY_WAITING, &PRESSURE_MEMORY_STALLED),
            (pressure.io, &PRESSURE_IO_WAITING, &PRESSURE_IO_STALLED),
        ];
        for (psi, waiting, stalled) in both {
            if let Some(Psi { some, full }) = psi {
                self.add(waiting, &[], some.total_ns / NS);
                self.add(stalled, &[], full.total_ns / NS);
            }
        }
    }
}

/// `/dev/NAME` of a block device, or its numbers where the kernel knows no name.
fn device_name((major, minor): (u32, u32)) -> String {
    let link = fs::read_link(format!("/sys/dev/block/{major}:{minor}"));
    let name = link.ok().and_then(|to| Some(to.file_name()?.to_str()?.to_owned()));
    name.map_or_else(|| format!("{major}:{minor}"), |name| format!("/dev/{name}"))
}
