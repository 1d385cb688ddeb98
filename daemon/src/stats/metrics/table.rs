// SPDX-License-Identifier: Apache-2.0

use super::SHARED_KEYS;
use crate::config::PodMetricGroup;

/// Whether a value only ever grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// A metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its name.
    pub name: &'static str,
    /// What it tells.
    pub help: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Label keys of its own.
    pub own_keys: &'static [&'static str],
    /// Group by which it is switched on.
    pub group: PodMetricGroup,
}

impl Descriptor {
    /// Keys of all its labels, in the order of a sample's values.
    pub fn label_keys(&self) -> impl Iterator<Item = &'static str> {
        SHARED_KEYS.into_iter().chain(self.own_keys.iter().copied())
    }
}

/// Writes the table: for each metric a constant, and all of them in one list.
macro_rules! metrics {
    ($($group:ident { $($id:ident $kind:ident $name:literal $([$($key:literal),+])? $help:literal;)+ })+) => {
        $($(
            pub(super) static $id: Descriptor = Descriptor {
                name: concat!("container_", $name),
                help: $help,
                kind: Kind::$kind,
                own_keys: &[$($($key),+)?],
                group: PodMetricGroup::$group,
            };
        )+)+
        /// Every metric.
        pub(super) static ALL: &[&Descriptor] = &[$($(&$id),+),+];
    };
}

metrics! {
    Cpu {
        CFS_PERIODS Counter "cpu_cfs_periods_total"
            "Enforcement periods of the CPU quota that have passed.";
        CFS_THROTTLED_PERIODS Counter "cpu_cfs_throttled_periods_total"
            "Periods in which the CPU quota ran out.";
        CFS_THROTTLED_SECONDS Counter "cpu_cfs_throttled_seconds_total"
            "Time spent waiting for the next period of the CPU quota, in seconds.";
        CPU_SYSTEM Counter "cpu_system_seconds_total"
            "CPU time in the kernel, in seconds.";
        CPU_USAGE Counter "cpu_usage_seconds_total" ["cpu"]
            "CPU time, in seconds.";
        CPU_USER Counter "cpu_user_seconds_total"
            "CPU time in user mode, in seconds.";
    }
    Disk {
        FS_INODES_FREE Gauge "fs_inodes_free" ["device"]
            "Free inodes of the file system with the writable layer.";
        FS_INODES Gauge "fs_inodes_total" ["device"]
            "Inodes of the file system with the writable layer.";
        FS_LIMIT Gauge "fs_limit_bytes" ["device"]
            "Size of the file system with the writable layer, in bytes.";
        FS_USAGE Gauge "fs_usage_bytes" ["device"]
            "Space that the writable layer takes, in bytes.";
    }
    DiskIo {
        BLKIO_USAGE Counter "blkio_device_usage_total" ["device", "major", "minor", "operation"]
            "Bytes moved between the container and a block device.";
        FS_READ_BYTES Counter "fs_reads_bytes_total" ["device"]
            "Bytes read from a block device.";
        FS_READS Counter "fs_reads_total" ["device"]
            "Reads from a block device.";
        FS_WRITE_BYTES Counter "fs_writes_bytes_total" ["device"]
            "Bytes written to a block device.";
        FS_WRITES Counter "fs_writes_total" ["device"]
            "Writes to a block device.";
    }
    Hugetlb {
        HUGETLB_PEAK Gauge "hugetlb_max_usage_bytes" ["pagesize"]
            "Most memory in huge pages so far, in bytes.";
        HUGETLB_USAGE Gauge "hugetlb_usage_bytes" ["pagesize"]
            "Memory in huge pages, in bytes.";
    }
    Memory {
        MEMORY_CACHE Gauge "memory_cache"
            "Page cache, in bytes.";
        MEMORY_FAILCNT Counter "memory_failcnt"
            "How often the memory limit was hit.";
        MEMORY_FAILURES Counter "memory_failures_total" ["failure_type", "scope"]
            "Page faults, and those that waited for a disk.";
        MEMORY_KERNEL Gauge "memory_kernel_usage"
            "Kernel memory, in bytes.";
        MEMORY_MAPPED Gauge "memory_mapped_file"
            "Files mapped into memory, in bytes.";
        MEMORY_PEAK Gauge "memory_max_usage_bytes"
            "Most memory used so far, in bytes.";
        MEMORY_RSS Gauge "memory_rss"
            "Anonymous memory, in bytes.";
        MEMORY_SWAP Gauge "memory_swap"
            "Swap in use, in bytes.";
        MEMORY_USAGE Gauge "memory_usage_bytes"
            "Memory charged, caches included, in bytes.";
        MEMORY_WORKING_SET Gauge "memory_working_set_bytes"
            "Memory that the kernel could not take back easily, in bytes.";
    }
    Network {
        NET_RX_BYTES Counter "network_receive_bytes_total" ["interface"]
            "Bytes received.";
        NET_RX_ERRORS Counter "network_receive_errors_total" ["interface"]
            "Errors while receiving.";
        NET_RX_DROPPED Counter "network_receive_packets_dropped_total" ["interface"]
            "Packets dropped while receiving.";
        NET_RX_PACKETS Counter "network_receive_packets_total" ["interface"]
            "Packets received.";
        NET_TX_BYTES Counter "network_transmit_bytes_total" ["interface"]
            "Bytes sent.";
        NET_TX_ERRORS Counter "network_transmit_errors_total" ["interface"]
            "Errors while sending.";
        NET_TX_DROPPED Counter "network_transmit_packets_dropped_total" ["interface"]
            "Packets dropped while sending.";
        NET_TX_PACKETS Counter "network_transmit_packets_total" ["interface"]
            "Packets sent.";
    }
    Oom {
        OOM_EVENTS Counter "oom_events_total"
            "Processes killed for lack of memory.";
    }
    Pressure {
        PRESSURE_CPU_STALLED Counter "pressure_cpu_stalled_seconds_total"
            "Time in which no process ran because all waited for a CPU, in seconds.";
        PRESSURE_CPU_WAITING Counter "pressure_cpu_waiting_seconds_total"
            "Time in which some process waited for a CPU, in seconds.";
        PRESSURE_IO_STALLED Counter "pressure_io_stalled_seconds_total"
            "Time in which no process ran because all waited for a device, in seconds.";
        PRESSURE_IO_WAITING Counter "pressure_io_waiting_seconds_total"
            "Time in which some process waited for a device, in seconds.";
        PRESSURE_MEMORY_STALLED Counter "pressure_memory_stalled_seconds_total"
            "Time in which no process ran because all waited for memory, in seconds.";
        PRESSURE_MEMORY_WAITING Counter "pressure_memory_waiting_seconds_total"
            "Time in which some process waited for memory, in seconds.";
    }
    Process {
        FILE_DESCRIPTORS Gauge "file_descriptors"
            "Open files.";
        PROCESSES Gauge "processes"
            "Processes.";
        SOCKETS Gauge "sockets"
            "Open sockets.";
        THREADS Gauge "threads"
            "Threads.";
        THREADS_MAX Gauge "threads_max"
            "Most threads there may be; 0 for any number.";
        ULIMITS_SOFT Gauge "ulimits_soft" ["ulimit"]
            "Soft limit of the first process.";
    }
    Spec {
        LAST_SEEN Gauge "last_seen"
            "When the container was last seen, in seconds since the Unix epoch.";
        SPEC_CPU_PERIOD Gauge "spec_cpu_period"
            "Period of the CPU quota, in microseconds.";
        SPEC_CPU_QUOTA Gauge "spec_cpu_quota"
            "CPU quota, in microseconds a period.";
        SPEC_CPU_SHARES Gauge "spec_cpu_shares"
            "CPU shares.";
        SPEC_MEMORY_LIMIT Gauge "spec_memory_limit_bytes"
            "Memory limit, in bytes; 0 for none.";
        SPEC_MEMORY_RESERVATION Gauge "spec_memory_reservation_limit_bytes"
            "Memory reservation, in bytes; 0 for none.";
        SPEC_MEMORY_SWAP_LIMIT Gauge "spec_memory_swap_limit_bytes"
            "Limit of memory and swap together, in bytes; 0 for none.";
        START_TIME Gauge "start_time_seconds"
            "When the container was started, in seconds since the Unix epoch.";
    }
}
