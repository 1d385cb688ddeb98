// SPDX-License-Identifier: Apache-2.0
//! What a cgroup has used, whichever version of the interface told it.

/// How much is read. Every file costs some microseconds, which count at a hundred containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// What CRI's stats of a container hold.
    Container,
    /// What CRI's stats of a pod hold: the count of tasks too.
    Pod,
    /// Everything: what CRI's metrics hold.
    Metrics,
}

/// A cgroup's usage. A part is missing where its controller is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// Processor time.
    pub cpu: Option<CpuUsage>,
    /// Memory.
    pub memory: Option<MemoryUsage>,
    /// Tasks: processes and their threads; not with [`Detail::Container`].
    pub tasks: Option<TaskUsage>,
    /// Block devices; read with [`Detail::Metrics`] only.
    pub io: Vec<DeviceIo>,
    /// Huge pages, a size each; read with [`Detail::Metrics`] only.
    pub hugetlb: Vec<HugetlbUsage>,
    /// Time lost waiting; cgroup v2 only.
    pub pressure: Pressure,
}

/// Processor time, cumulative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuUsage {
    /// Nanoseconds on all CPUs.
    pub total_ns: u64,
    /// Nanoseconds in user mode.
    pub user_ns: u64,
    /// Nanoseconds in the kernel.
    pub system_ns: u64,
    /// CFS periods that began.
    pub periods: u64,
    /// CFS periods in which the quota ran out.
    pub throttled_periods: u64,
    /// Nanoseconds spent waiting for the next period.
    pub throttled_ns: u64,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// All that is charged.
    pub usage: u64,
    /// `usage` without the file pages that the kernel would take back first.
    pub working_set: u64,
    /// Limit; `None` for none.
    pub limit: Option<u64>,
    /// Anonymous memory.
    pub rss: u64,
    /// Page cache.
    pub cache: u64,
    /// Mapped part of the page cache.
    pub mapped_file: u64,
    /// Kernel memory.
    pub kernel: u64,
    /// Highest `usage` so far.
    pub peak: u64,
    /// How often the limit was hit.
    pub limit_hits: u64,
    /// Swap in use; `None` where it is not accounted.
    pub swap: Option<u64>,
    /// Limit of swap; `None` for none.
    pub swap_limit: Option<u64>,
    /// Page faults.
    pub page_faults: u64,
    /// Page faults that had to wait for a disk.
    pub major_page_faults: u64,
    /// Processes killed for lack of memory.
    pub oom_kills: u64,
}

impl MemoryUsage {
    /// What is left below the limit; `None` without one.
    #[must_use]
    pub fn available(&self) -> Option<u64> {
        self.limit.map(|limit| limit.saturating_sub(self.working_set))
    }

    /// Swap that is left below its limit; `None` without one.
    #[must_use]
    pub fn swap_available(&self) -> Option<u64> {
        Some(self.swap_limit?.saturating_sub(self.swap?))
    }
}

/// Tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskUsage {
    /// How many there are.
    pub current: u64,
    /// How many there may be; `None` for any number.
    pub limit: Option<u64>,
}

/// Traffic with one block device, cumulative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeviceIo {
    /// Major and minor number.
    pub device: (u32, u32),
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

/// Huge pages of one size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HugetlbUsage {
    /// Size as the kernel writes it, such as `2MB`.
    pub page_size: String,
    /// Bytes in use.
    pub usage: u64,
    /// Highest `usage` so far.
    pub peak: u64,
}

/// Pressure of each resource; `None` where the kernel tells none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// Waiting for a CPU.
    pub cpu: Option<Psi>,
    /// Waiting for memory.
    pub memory: Option<Psi>,
    /// Waiting for a device.
    pub io: Option<Psi>,
}

/// Pressure of one resource.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Psi {
    /// At least one task waited.
    pub some: PsiShare,
    /// All tasks waited.
    pub full: PsiShare,
}

/// How long tasks waited.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PsiShare {
    /// Percent of the last 10 seconds.
    pub avg10: f64,
    /// Percent of the last 60 seconds.
    pub avg60: f64,
    /// Percent of the last 300 seconds.
    pub avg300: f64,
    /// Nanoseconds in all.
    pub total_ns: u64,
}
