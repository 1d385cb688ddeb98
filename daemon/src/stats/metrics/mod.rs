// SPDX-License-Identifier: Apache-2.0
//! Metrics of pods and containers under the names, labels and units that cAdvisor gave them, so
//! that dashboards and alerts go on working.
//!
//! `table` lists every metric once. A sample carries one value for each label key of its metric,
//! in the same order: first those that all metrics share, then the metric's own.

mod container;
mod emit;
mod pod;
mod table;
#[cfg(test)]
mod tests;

pub use container::{ContainerFacts, container_metrics};
pub use pod::{PodFacts, pod_metrics};
pub use table::{Descriptor, Kind};

use crate::config::PodMetricGroup;

/// Keys of the labels that every metric has.
pub const SHARED_KEYS: [&str; 6] = ["container", "id", "image", "name", "namespace", "pod"];

/// Values of the labels that every metric has. For a pod as a whole `container` and `image` are
/// empty, which is how dashboards keep pods and containers apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// Container's name in its pod.
    pub container: String,
    /// Path of the cgroup.
    pub id: String,
    /// Image as the user named it.
    pub image: String,
    /// Id of the container or the sandbox.
    pub name: String,
    /// Pod's namespace.
    pub namespace: String,
    /// Pod's name.
    pub pod: String,
}

impl Subject {
    fn values(&self) -> [&str; 6] {
        [&self.container, &self.id, &self.image, &self.name, &self.namespace, &self.pod]
    }
}

/// One value of one metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The metric.
    pub metric: &'static Descriptor,
    /// Values of its labels, aligned with [`Descriptor::label_keys`].
    pub labels: Vec<String>,
    /// The value.
    pub value: u64,
}

/// The metrics of the groups that are served, in a fixed order.
#[must_use]
pub fn descriptors(groups: &[PodMetricGroup]) -> Vec<&'static Descriptor> {
    table::ALL.iter().copied().filter(|metric| serves(groups, metric.group)).collect()
}

/// Whether the metrics of `group` are served when `groups` are.
pub(super) fn serves(groups: &[PodMetricGroup], group: PodMetricGroup) -> bool {
    groups.contains(&group) || groups.contains(&PodMetricGroup::All)
}
