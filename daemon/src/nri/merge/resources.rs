// SPDX-License-Identifier: Apache-2.0
//! Limits that several plugins set, one field at a time.

use crisp_nri::{Field, LinuxResources};

/// The fields that `asked` sets; with entries where a field has them.
#[must_use]
pub fn fields(asked: &LinuxResources) -> Vec<(Field, String)> {
    let (memory, cpu) = (&asked.memory, &asked.cpu);
    let simple = [
        (memory.limit.is_some(), Field::MemLimit),
        (memory.reservation.is_some(), Field::MemReservation),
        (memory.swap.is_some(), Field::MemSwapLimit),
        (memory.kernel.is_some(), Field::MemKernelLimit),
        (memory.kernel_tcp.is_some(), Field::MemTCPLimit),
        (memory.swappiness.is_some(), Field::MemSwappiness),
        (memory.disable_oom_killer.is_some(), Field::MemDisableOomKiller),
        (memory.use_hierarchy.is_some(), Field::MemUseHierarchy),
        (cpu.shares.is_some(), Field::CPUShares),
        (cpu.quota.is_some(), Field::CPUQuota),
        (cpu.period.is_some(), Field::CPUPeriod),
        (cpu.realtime_runtime.is_some(), Field::CPURealtimeRuntime),
        (cpu.realtime_period.is_some(), Field::CPURealtimePeriod),
        (!cpu.cpus.is_empty(), Field::CPUSetCPUs),
        (!cpu.mems.is_empty(), Field::CPUSetMems),
        (asked.pids.is_some(), Field::PidsLimit),
        (asked.blockio_class.is_some(), Field::BlockioClass),
        (asked.rdt_class.is_some(), Field::RdtClass),
    ];
    let simple = simple.into_iter().filter(|(set, _)| *set).map(|(_, f)| (f, String::new()));
    let pages = asked.hugepage_limits.iter().map(|l| (Field::HugepageLimits, l.page_size.clone()));
    let files = asked.unified.keys().map(|key| (Field::CgroupsUnified, key.clone()));
    simple.chain(pages).chain(files).collect()
}

/// What of `asked` crisp cannot give: classes are the operator's, and crisp has none.
#[must_use]
pub fn unknown(asked: &LinuxResources) -> Option<String> {
    let class = |kind: &str, name: &str| {
        (!name.is_empty()).then(|| format!("{kind} class {name:?}; there are none"))
    };
    let block = asked.blockio_class.as_ref().and_then(|c| class("block I/O", &c.value));
    block.or_else(|| asked.rdt_class.as_ref().and_then(|c| class("RDT", &c.value)))
}

/// Lays what `asked` sets over `known`.
pub fn lay(asked: &LinuxResources, known: &mut LinuxResources) {
    macro_rules! set {
        ($from:expr, $to:expr, $($field:ident),+) => {
            $(if $from.$field.is_some() {
                $to.$field = $from.$field.clone();
            })+
        };
    }
    if let Some(asked) = asked.memory.as_ref() {
        let known = known.memory.mut_or_insert_default();
        set!(asked, known, limit, reservation, swap, kernel, kernel_tcp);
        set!(asked, known, swappiness, disable_oom_killer, use_hierarchy);
    }
    if let Some(asked) = asked.cpu.as_ref() {
        let known = known.cpu.mut_or_insert_default();
        set!(asked, known, shares, quota, period, realtime_runtime, realtime_period);
        if !asked.cpus.is_empty() {
            known.cpus.clone_from(&asked.cpus);
        }
        if !asked.mems.is_empty() {
            known.mems.clone_from(&asked.mems);
        }
    }
    for limit in &asked.hugepage_limits {
        known.hugepage_limits.retain(|old| old.page_size != limit.page_size);
        known.hugepage_limits.push(limit.clone());
    }
    known.unified.extend(asked.unified.clone());
    known.devices.extend(asked.devices.iter().cloned());
    set!(asked, known, blockio_class, rdt_class, pids);
}

#[cfg(test)]
mod tests {
    use crisp_nri::{HugepageLimit, LinuxPids};

    use super::*;
    use crate::{
        nri::resources::{from_request, to_request},
        pods::spec::Resources,
    };

    #[test]
    fn only_what_is_set_is_laid_over() {
        let mut known = from_request(&Resources {
            memory_limit: 5,
            cpu_shares: 7,
            cpuset_cpus: "0".into(),
            hugepages: vec![("2MB".into(), 1), ("1GB".into(), 1)],
            ..Resources::default()
        });
        let asked = from_request(&Resources {
            memory_limit: 6,
            cpuset_mems: "0".into(),
            ..Resources::default()
        });
        lay(&asked, &mut known);
        let mut pages = LinuxResources::new();
        let limit = HugepageLimit { page_size: "2MB".into(), limit: 0, ..Default::default() };
        pages.hugepage_limits.push(limit);
        pages.pids = Some(LinuxPids { limit: 3, ..Default::default() }).into();
        lay(&pages, &mut known);
        let got = to_request(&known);
        assert_eq!((got.memory_limit, got.cpu_shares), (6, 7));
        assert_eq!((got.cpuset_cpus.as_str(), got.cpuset_mems.as_str()), ("0", "0"));
        assert_eq!(got.hugepages, [("1GB".into(), 1), ("2MB".into(), 0)]);
        assert_eq!(known.pids.limit, 3);
        let set: Vec<_> = fields(&asked).into_iter().map(|(field, _)| field).collect();
        assert_eq!(set, [Field::MemLimit, Field::CPUSetMems]);
    }
}
