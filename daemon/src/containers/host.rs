// SPDX-License-Identifier: Apache-2.0
//! What this host can do: read once at start, then handed to the code that decides.

use std::{fs, io, path::Path};

use rustix::fs::statfs;
use serde::{Deserialize, Serialize};

use super::capabilities::CapabilitySet;

/// `f_type` of a cgroup v2 file system.
const CGROUP2_MAGIC: i64 = 0x6367_7270;
/// Lowest oom_score_adj there is.
const OOM_SCORE_ADJ_MIN: i32 = -1000;

/// Facts about the host that shape a container's spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Where the cgroup controllers are.
    pub cgroup: CgroupVersion,
    /// Capabilities the daemon holds: what it can give away.
    pub capabilities: CapabilitySet,
    /// Lowest oom_score_adj a container can be given here.
    pub oom_score_adj_floor: i32,
    /// Machine architecture as Rust names it (`x86_64`, `aarch64`, ...).
    pub arch: String,
    /// Seccomp filters.
    pub seccomp: Support,
    /// AppArmor.
    pub apparmor: Support,
    /// SELinux.
    pub selinux: Support,
    /// Limits of memory plus swap.
    pub swap_accounting: Support,
    /// The hugetlb controller.
    pub hugetlb: Support,
    /// Sizes of huge pages the kernel has, as CRI writes them (`2MB`).
    pub hugepage_sizes: Vec<String>,
}

/// Which cgroup hierarchy has the controllers. A hybrid host counts as v1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CgroupVersion {
    /// One hierarchy per controller.
    V1,
    /// The unified hierarchy.
    V2,
}

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Support {
    /// It is not.
    #[default]
    Absent,
    /// It is.
    Present,
}

impl Support {
    /// `Present` when `condition` holds.
    #[must_use]
    pub fn when(condition: bool) -> Self {
        if condition { Self::Present } else { Self::Absent }
    }

    /// Whether it is there.
    #[must_use]
    pub fn is_present(self) -> bool {
        self == Self::Present
    }
}

/// A file of the kernel that could not be read or made sense of.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Reading failed.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file has no such line, or it is not a number.
    #[error("{path} has no usable {key:?}")]
    Line {
        /// The file.
        path: &'static str,
        /// The line's key.
        key: &'static str,
    },
}

impl HostFacts {
    /// Looks at the host.
    ///
    /// # Errors
    /// [`HostError`] when the kernel does not even show the process itself; everything else that
    /// is missing counts as absent.
    pub fn collect() -> Result<Self, HostError> {
        const STATUS: &str = "/proc/self/status";
        let status = fs::read_to_string(STATUS)
            .map_err(|source| HostError::Read { path: STATUS, source })?;
        let held = capability_line(&status, "CapPrm")? & capability_line(&status, "CapBnd")?;
        let cgroup = cgroup_version();
        Ok(Self {
            cgroup,
            capabilities: held,
            oom_score_adj_floor: oom_score_adj_floor(held)?,
            arch: std::env::consts::ARCH.to_owned(),
            seccomp: Support::when(line(&status, "Seccomp").is_some()),
            apparmor: apparmor(),
            selinux: Support::when(Path::new("/sys/fs/selinux/enforce").exists()),
            swap_accounting: swap_accounting(cgroup),
            hugetlb: hugetlb(cgroup),
            hugepage_sizes: hugepage_sizes(),
        })
    }
}

fn line<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    status.lines().find_map(|l| Some(l.strip_prefix(key)?.strip_prefix(':')?.trim()))
}

fn capability_line(status: &str, key: &'static str) -> Result<CapabilitySet, HostError> {
    line(status, key)
        .and_then(|hex| u64::from_str_radix(hex, 16).ok())
        .map(CapabilitySet::from_bits)
        .ok_or(HostError::Line { path: "/proc/self/status", key })
}

/// With CAP_SYS_RESOURCE any value can be set. Without it the kernel refuses values below the
/// lowest one set with that capability, which cannot be read; the daemon's own value is not below
/// it, so it is safe.
fn oom_score_adj_floor(held: CapabilitySet) -> Result<i32, HostError> {
    const PATH: &str = "/proc/self/oom_score_adj";
    if held.has("SYS_RESOURCE") {
        return Ok(OOM_SCORE_ADJ_MIN);
    }
    let text = fs::read_to_string(PATH).map_err(|source| HostError::Read { path: PATH, source })?;
    text.trim().parse().map_err(|_| HostError::Line { path: PATH, key: "number" })
}

fn cgroup_version() -> CgroupVersion {
    match statfs("/sys/fs/cgroup") {
        Ok(found) if found.f_type == CGROUP2_MAGIC => CgroupVersion::V2,
        _ => CgroupVersion::V1,
    }
}

fn apparmor() -> Support {
    let enabled = fs::read("/sys/module/apparmor/parameters/enabled");
    Support::when(enabled.is_ok_and(|text| text.first() == Some(&b'Y')))
}

fn swap_accounting(cgroup: CgroupVersion) -> Support {
    Support::when(match cgroup {
        CgroupVersion::V1 => {
            Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
        }
        // The root has no swap.max; any other cgroup shows whether the kernel accounts swap.
        CgroupVersion::V2 => own_cgroup_file("memory.swap.max"),
    })
}

fn own_cgroup_file(name: &str) -> bool {
    let Ok(cgroups) = fs::read_to_string("/proc/self/cgroup") else { return false };
    let Some(own) = cgroups.lines().find_map(|l| l.strip_prefix("0::/")) else { return false };
    let below_own = Path::new("/sys/fs/cgroup").join(own).join(name);
    if below_own.exists() {
        return true;
    }
    let Ok(children) = fs::read_dir("/sys/fs/cgroup") else { return false };
    children.flatten().any(|child| child.path().join(name).exists())
}

fn hugetlb(cgroup: CgroupVersion) -> Support {
    Support::when(match cgroup {
        CgroupVersion::V1 => Path::new("/sys/fs/cgroup/hugetlb").is_dir(),
        CgroupVersion::V2 => fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")
            .is_ok_and(|all| all.split_whitespace().any(|one| one == "hugetlb")),
    })
}

fn hugepage_sizes() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    let mut kilobytes: Vec<u64> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()
        })
        .collect();
    kilobytes.sort_unstable();
    kilobytes.into_iter().map(size_name).collect()
}

/// Name of a page size as cgroup files and CRI write it: the largest unit that divides it.
fn size_name(kilobytes: u64) -> String {
    let (mut size, mut unit) = (kilobytes, "KB");
    for next in ["MB", "GB"] {
        if size % 1024 != 0 {
            break;
        }
        (size, unit) = (size / 1024, next);
    }
    format!("{size}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_are_named_as_cgroups_name_them() {
        for (kilobytes, name) in
            [(64, "64KB"), (2048, "2MB"), (32768, "32MB"), (1 << 20, "1GB"), (16 << 20, "16GB")]
        {
            assert_eq!(size_name(kilobytes), name);
        }
    }

    #[test]
    fn a_status_line_is_found_by_its_whole_key() {
        let status = "CapPrmX:\t1\nCapPrm:\t0000000000000003\nSeccomp_filters:\t4\n";
        assert_eq!(capability_line(status, "CapPrm").unwrap().names().count(), 2);
        assert_eq!(line(status, "Seccomp"), None);
        assert!(capability_line(status, "CapBnd").is_err());
    }

    #[test]
    fn this_host_can_be_read() {
        let facts = HostFacts::collect().unwrap();
        assert!((OOM_SCORE_ADJ_MIN..=1000).contains(&facts.oom_score_adj_floor));
        assert_eq!(facts.arch, std::env::consts::ARCH);
    }
}
