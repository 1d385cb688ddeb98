// SPDX-License-Identifier: Apache-2.0
//! Resource limits: CRI's fields in, the OCI runtime's out; and what an update leaves of both.
//!
//! The OCI spec speaks cgroup v1 for both versions and the OCI runtime converts (shares to
//! weight, memory plus swap to swap alone), so only what the two versions really differ in is
//! decided here.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxResources};

use super::host::{CgroupVersion, HostFacts};
use crate::pods::spec::{Pairs, Resources};

/// A limit that makes no sense or cannot be set here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// A number outside its range.
    #[error("resource {field}: {value} is out of range")]
    OutOfRange {
        /// CRI's name of the field.
        field: &'static str,
        /// What was asked.
        value: i64,
    },
    /// Less memory plus swap than memory.
    #[error(
        "resource memory_swap_limit_in_bytes: {swap} is less than memory_limit_in_bytes {memory}"
    )]
    SwapBelowMemory {
        /// Memory plus swap, bytes.
        swap: i64,
        /// Memory, bytes.
        memory: i64,
    },
    /// Not a cpuset list.
    #[error("resource {field}: {value:?} is not a list of numbers and ranges")]
    NotAList {
        /// CRI's name of the field.
        field: &'static str,
        /// What was asked.
        value: String,
    },
    /// A huge page size the kernel does not have.
    #[error("huge page size {0:?} is not one of this host")]
    PageSize(String),
    /// `unified` on a host without the unified hierarchy.
    #[error("resource unified: {0:?} needs cgroup v2, which this host does not use")]
    UnifiedNeedsV2(String),
    /// A key of `unified` that is no file name of a cgroup.
    #[error("resource unified: {0:?} is not the name of a cgroup file")]
    UnifiedKey(String),
}

/// What is in force after `request` is applied to `current`: a field that is 0 or empty in the
/// request stays as it is; huge page sizes and unified keys are merged one by one.
#[must_use]
pub fn update(current: &Resources, request: &Resources) -> Resources {
    let number = |new: i64, old: i64| if new == 0 { old } else { new };
    let text = |new: &String, old: &String| if new.is_empty() { old } else { new }.clone();
    let mut hugepages = current.hugepages.clone();
    for (size, limit) in &request.hugepages {
        match hugepages.iter_mut().find(|(known, _)| known == size) {
            Some(known) => known.1 = *limit,
            None => hugepages.push((size.clone(), *limit)),
        }
    }
    let mut unified = current.unified.clone();
    unified.extend(request.unified.iter().map(|(k, v)| (k.clone(), v.clone())));
    Resources {
        cpu_period: number(request.cpu_period, current.cpu_period),
        cpu_quota: number(request.cpu_quota, current.cpu_quota),
        cpu_shares: number(request.cpu_shares, current.cpu_shares),
        memory_limit: number(request.memory_limit, current.memory_limit),
        memory_swap_limit: number(request.memory_swap_limit, current.memory_swap_limit),
        oom_score_adj: number(request.oom_score_adj, current.oom_score_adj),
        cpuset_cpus: text(&request.cpuset_cpus, &current.cpuset_cpus),
        cpuset_mems: text(&request.cpuset_mems, &current.cpuset_mems),
        hugepages,
        unified,
    }
}

/// The limits in the OCI runtime's terms, without devices.
///
/// # Errors
/// [`ResourceError`] names the field that cannot be set.
pub fn to_linux(asked: &Resources, host: &HostFacts) -> Result<LinuxResources, ResourceError> {
    let unified = Unified::new(asked, host)?;
    let mut linux = LinuxResources::default();
    linux.set_cpu(cpu(asked, &unified)?);
    linux.set_memory(memory(asked, host, &unified)?);
    linux.set_hugepage_limits(hugepages(asked, host, &unified)?);
    linux.set_unified(unified.into_oci(asked, host));
    Ok(linux)
}

/// The oom_score_adj a container gets: always one, never below what the host lets us set.
#[must_use]
pub fn oom_score_adj(asked: &Resources, host: &HostFacts) -> i32 {
    let wanted = asked.oom_score_adj.clamp(-1000, 1000);
    i32::try_from(wanted).unwrap_or(0).max(host.oom_score_adj_floor)
}

/// Cgroup v2 files given by name. What they set, no other field sets.
struct Unified<'a>(&'a Pairs);

impl<'a> Unified<'a> {
    fn new(asked: &'a Resources, host: &HostFacts) -> Result<Self, ResourceError> {
        for key in asked.unified.keys() {
            if host.cgroup == CgroupVersion::V1 {
                return Err(ResourceError::UnifiedNeedsV2(key.clone()));
            }
            let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
            if !key.contains('.') || key.starts_with('.') || !key.bytes().all(legal) {
                return Err(ResourceError::UnifiedKey(key.clone()));
            }
        }
        Ok(Self(&asked.unified))
    }

    fn sets(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// A swap limit is relative to the memory limit; when `memory.max` takes the latter's place,
    /// the runtime could not work out the former, so it is done here.
    fn into_oci(self, asked: &Resources, host: &HostFacts) -> Option<HashMap<String, String>> {
        let mut files: HashMap<String, String> =
            self.0.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        let moved = self.sets("memory.max") && !self.sets("memory.swap.max");
        if let Some(total) = swap_total(asked, host).filter(|_| moved && asked.memory_limit > 0) {
            let swap = match total {
                ..0 => "max".to_owned(),
                _ => (total - asked.memory_limit).to_string(),
            };
            files.insert("memory.swap.max".to_owned(), swap);
        }
        (!files.is_empty()).then_some(files)
    }
}

fn cpu(asked: &Resources, unified: &Unified<'_>) -> Result<Option<LinuxCpu>, ResourceError> {
    let mut cpu = LinuxCpu::default();
    if !unified.sets("cpu.max") {
        cpu.set_period(positive("cpu_period", asked.cpu_period)?);
        cpu.set_quota(Some(asked.cpu_quota).filter(|quota| *quota != 0));
    }
    if !unified.sets("cpu.weight") {
        cpu.set_shares(positive("cpu_shares", asked.cpu_shares)?);
    }
    if !unified.sets("cpuset.cpus") {
        cpu.set_cpus(cpu_list("cpuset_cpus", &asked.cpuset_cpus)?);
    }
    if !unified.sets("cpuset.mems") {
        cpu.set_mems(cpu_list("cpuset_mems", &asked.cpuset_mems)?);
    }
    Ok((cpu != LinuxCpu::default()).then_some(cpu))
}

fn memory(
    asked: &Resources,
    host: &HostFacts,
    unified: &Unified<'_>,
) -> Result<Option<LinuxMemory>, ResourceError> {
    let (limit, swap) = (asked.memory_limit, asked.memory_swap_limit);
    for (field, value) in [("memory_limit_in_bytes", limit), ("memory_swap_limit_in_bytes", swap)] {
        if value < -1 {
            return Err(ResourceError::OutOfRange { field, value });
        }
    }
    if limit > 0 && swap > 0 && swap < limit {
        return Err(ResourceError::SwapBelowMemory { swap, memory: limit });
    }
    let mut memory = LinuxMemory::default();
    if !unified.sets("memory.max") {
        memory.set_limit(Some(limit).filter(|limit| *limit != 0));
        if !unified.sets("memory.swap.max") {
            memory.set_swap(swap_total(asked, host));
        }
    }
    Ok((memory != LinuxMemory::default()).then_some(memory))
}

/// Memory plus swap. A container with a memory limit and no word on swap gets no swap, else its
/// limit would not hold what it promises.
fn swap_total(asked: &Resources, host: &HostFacts) -> Option<i64> {
    let total =
        if asked.memory_swap_limit != 0 { asked.memory_swap_limit } else { asked.memory_limit };
    Some(total).filter(|total| *total != 0 && host.swap_accounting.is_present())
}

/// The kubelet names every size of the host, most with 0. A kernel without the controller cannot
/// limit any; the pod's own accounting is then all there is.
fn hugepages(
    asked: &Resources,
    host: &HostFacts,
    unified: &Unified<'_>,
) -> Result<Option<Vec<LinuxHugepageLimit>>, ResourceError> {
    let mut limits = Vec::new();
    for (size, bytes) in &asked.hugepages {
        if !host.hugepage_sizes.contains(size) {
            return Err(ResourceError::PageSize(size.clone()));
        }
        if unified.sets(&format!("hugetlb.{size}.max")) || !host.hugetlb.is_present() {
            continue;
        }
        let mut limit = LinuxHugepageLimit::default();
        limit.set_page_size(size.clone());
        limit.set_limit(i64::try_from(*bytes).unwrap_or(i64::MAX));
        limits.push(limit);
    }
    Ok((!limits.is_empty()).then_some(limits))
}

fn positive(field: &'static str, value: i64) -> Result<Option<u64>, ResourceError> {
    match u64::try_from(value) {
        Ok(0) => Ok(None),
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(ResourceError::OutOfRange { field, value }),
    }
}

fn cpu_list(field: &'static str, value: &str) -> Result<Option<String>, ResourceError> {
    let number = |text: &str| text.trim().parse::<u32>().ok();
    let range = |part: &str| match part.split_once('-') {
        Some((first, last)) => number(first).zip(number(last)).is_some_and(|(a, b)| a <= b),
        None => number(part).is_some(),
    };
    if value.is_empty() {
        Ok(None)
    } else if value.split(',').all(range) {
        Ok(Some(value.to_owned()))
    } else {
        Err(ResourceError::NotAList { field, value: value.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::{capabilities::CapabilitySet, host::Support};

    fn host(cgroup: CgroupVersion) -> HostFacts {
        HostFacts {
            cgroup,
            capabilities: CapabilitySet::known(),
            oom_score_adj_floor: -1000,
            arch: "x86_64".into(),
            seccomp: Support::Present,
            apparmor: Support::Absent,
            selinux: Support::Absent,
            swap_accounting: Support::Present,
            hugetlb: Support::Present,
            hugepage_sizes: vec!["2MB".into(), "1GB".into()],
        }
    }

    fn linux(asked: &Resources) -> LinuxResources {
        to_linux(asked, &host(CgroupVersion::V2)).unwrap()
    }

    #[test]
    fn nothing_asked_is_nothing_set() {
        assert_eq!(linux(&Resources::default()), LinuxResources::default());
    }

    #[test]
    fn an_update_leaves_what_it_does_not_name() {
        let current = Resources {
            cpu_shares: 512,
            memory_limit: 1 << 30,
            oom_score_adj: 3,
            cpuset_cpus: "0-1".into(),
            hugepages: vec![("2MB".into(), 0)],
            unified: [("memory.high".to_owned(), "1".to_owned())].into(),
            ..Resources::default()
        };
        assert_eq!(update(&current, &Resources::default()), current);
        let request = Resources {
            memory_limit: 2 << 30,
            cpu_quota: -1,
            hugepages: vec![("1GB".into(), 5), ("2MB".into(), 7)],
            unified: [("memory.high".to_owned(), "2".to_owned())].into(),
            ..Resources::default()
        };
        let merged = update(&current, &request);
        assert_eq!((merged.memory_limit, merged.cpu_shares), (2 << 30, 512));
        assert_eq!((merged.cpu_quota, merged.cpuset_cpus.as_str()), (-1, "0-1"));
        assert_eq!(merged.hugepages, [("2MB".into(), 7), ("1GB".into(), 5)]);
        assert_eq!(merged.unified["memory.high"], "2");
    }

    #[test]
    fn a_memory_limit_without_a_word_on_swap_means_no_swap() {
        let asked = Resources { memory_limit: 100, ..Resources::default() };
        let memory = linux(&asked).memory().unwrap();
        assert_eq!((memory.limit(), memory.swap()), (Some(100), Some(100)));
        let mut without = host(CgroupVersion::V1);
        without.swap_accounting = Support::Absent;
        assert_eq!(to_linux(&asked, &without).unwrap().memory().unwrap().swap(), None);
    }

    #[test]
    fn unified_wins() {
        let asked = Resources {
            memory_limit: 100,
            memory_swap_limit: 150,
            cpu_shares: 2,
            cpu_quota: 5,
            unified: [("memory.max", "200"), ("cpu.weight", "7")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            ..Resources::default()
        };
        let linux = linux(&asked);
        assert!(linux.memory().is_none());
        assert_eq!(
            (linux.cpu().as_ref().unwrap().shares(), linux.cpu().as_ref().unwrap().quota()),
            (None, Some(5))
        );
        let unified = linux.unified().as_ref().unwrap();
        assert_eq!(unified["memory.max"], "200");
        assert_eq!(unified["memory.swap.max"], "50");
        let error = to_linux(&asked, &host(CgroupVersion::V1)).unwrap_err();
        assert!(matches!(error, ResourceError::UnifiedNeedsV2(_)));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let refused =
            |asked: Resources| to_linux(&asked, &host(CgroupVersion::V2)).unwrap_err().to_string();
        let none = Resources::default;
        assert_eq!(
            refused(Resources { cpu_period: -5, ..none() }),
            "resource cpu_period: -5 is out of range"
        );
        assert!(
            refused(Resources { memory_limit: -2, ..none() }).contains("memory_limit_in_bytes")
        );
        assert!(
            refused(Resources { memory_limit: 9, memory_swap_limit: 8, ..none() })
                .contains("8 is less than memory_limit_in_bytes 9")
        );
        for list in ["a", "1-", "3-1", "0,,1", "-1"] {
            assert!(refused(Resources { cpuset_cpus: list.into(), ..none() }).contains(list));
        }
        assert!(
            refused(Resources { hugepages: vec![("3MB".into(), 0)], ..none() }).contains("3MB")
        );
        let up = Resources { unified: [("../x.y".into(), String::new())].into(), ..none() };
        assert!(refused(up).contains("../x.y"));
    }

    #[test]
    fn oom_score_adj_is_clamped_to_the_floor() {
        let mut host = host(CgroupVersion::V1);
        let adj = |value, host: &HostFacts| {
            oom_score_adj(&Resources { oom_score_adj: value, ..Resources::default() }, host)
        };
        assert_eq!((adj(-998, &host), adj(0, &host), adj(5000, &host)), (-998, 0, 1000));
        host.oom_score_adj_floor = 0;
        assert_eq!((adj(-998, &host), adj(7, &host)), (0, 7));
    }
}
