// SPDX-License-Identifier: Apache-2.0

use crisp_cri as v1;

use super::scalars::{pairs, to_map};
use crate::pods::spec::Resources;

/// Limits, from the wire. Zero and empty stay zero and empty: "not set".
#[must_use]
pub fn resources(linux: v1::LinuxContainerResources) -> Resources {
    Resources {
        cpu_period: linux.cpu_period,
        cpu_quota: linux.cpu_quota,
        cpu_shares: linux.cpu_shares,
        memory_limit: linux.memory_limit_in_bytes,
        memory_swap_limit: linux.memory_swap_limit_in_bytes,
        oom_score_adj: linux.oom_score_adj,
        cpuset_cpus: linux.cpuset_cpus,
        cpuset_mems: linux.cpuset_mems,
        hugepages: linux.hugepage_limits.into_iter().map(|h| (h.page_size, h.limit)).collect(),
        unified: pairs(linux.unified),
    }
}

/// Limits, to the wire.
#[must_use]
pub fn resources_to_cri(resources: &Resources) -> v1::LinuxContainerResources {
    v1::LinuxContainerResources {
        cpu_period: resources.cpu_period,
        cpu_quota: resources.cpu_quota,
        cpu_shares: resources.cpu_shares,
        memory_limit_in_bytes: resources.memory_limit,
        oom_score_adj: resources.oom_score_adj,
        cpuset_cpus: resources.cpuset_cpus.clone(),
        cpuset_mems: resources.cpuset_mems.clone(),
        hugepage_limits: resources
            .hugepages
            .iter()
            .map(|(size, limit)| v1::HugepageLimit { page_size: size.clone(), limit: *limit })
            .collect(),
        unified: to_map(&resources.unified),
        memory_swap_limit_in_bytes: resources.memory_swap_limit,
    }
}
