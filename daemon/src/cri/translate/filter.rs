// SPDX-License-Identifier: Apache-2.0
//! Filters of the list calls. Fields are ANDed; an empty or missing one selects all.

use crisp_cri as v1;

use super::scalars::{Invalid, pairs, unknown_number};
use crate::pods::spec::Pairs;

/// Keeps the items whose `key` is `wanted`: all when that is empty, else those that equal it,
/// else those it is a unique prefix of. An ambiguous prefix keeps none.
pub fn select<T>(items: Vec<T>, wanted: &str, key: impl Fn(&T) -> &str) -> Vec<T> {
    if wanted.is_empty() {
        return items;
    }
    let keys = || items.iter().map(&key);
    let full = if keys().any(|k| k == wanted) {
        wanted.to_owned()
    } else {
        let mut matches = keys().filter(|k| k.starts_with(wanted));
        let Some(first) = matches.next() else {
            return Vec::new();
        };
        // Several items may share one key: containers of a pod.
        if matches.any(|k| k != first) {
            return Vec::new();
        }
        first.to_owned()
    };
    items.into_iter().filter(|item| key(item) == full).collect()
}

fn has_labels(labels: &Pairs, wanted: &Pairs) -> bool {
    wanted.iter().all(|(k, v)| labels.get(k) == Some(v))
}

/// Which pods to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodFilter {
    /// Id or unique prefix, for [`select`]; empty for all.
    pub id: String,
    state: Option<v1::PodSandboxState>,
    labels: Pairs,
}

impl PodFilter {
    /// A filter, from the wire.
    ///
    /// # Errors
    /// [`Invalid`] for a state without a name.
    pub fn new(filter: Option<v1::PodSandboxFilter>) -> Result<Self, Invalid> {
        let filter = filter.unwrap_or_default();
        let state = filter.state.map(|s| v1::PodSandboxState::try_from(s.state)).transpose();
        Ok(Self {
            id: filter.id,
            state: state.map_err(|e| unknown_number("filter.state", e.0))?,
            labels: pairs(filter.label_selector),
        })
    }

    /// Whether a pod in `state` with `labels` is wanted, its id aside.
    #[must_use]
    pub fn accepts(&self, state: v1::PodSandboxState, labels: &Pairs) -> bool {
        self.state.is_none_or(|s| s == state) && has_labels(labels, &self.labels)
    }
}

/// Which containers to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerFilter {
    /// Id or unique prefix, for [`select`]; empty for all.
    pub id: String,
    /// Id or unique prefix of the pod, for [`select`]; empty for all.
    pub pod: String,
    state: Option<v1::ContainerState>,
    labels: Pairs,
}

impl ContainerFilter {
    /// A filter, from the wire.
    ///
    /// # Errors
    /// [`Invalid`] for a state without a name.
    pub fn new(filter: Option<v1::ContainerFilter>) -> Result<Self, Invalid> {
        let filter = filter.unwrap_or_default();
        let state = filter.state.map(|s| v1::ContainerState::try_from(s.state)).transpose();
        Ok(Self {
            id: filter.id,
            pod: filter.pod_sandbox_id,
            state: state.map_err(|e| unknown_number("filter.state", e.0))?,
            labels: pairs(filter.label_selector),
        })
    }

    /// Whether a container in `state` with `labels` is wanted, its ids aside.
    #[must_use]
    pub fn accepts(&self, state: v1::ContainerState, labels: &Pairs) -> bool {
        self.state.is_none_or(|s| s == state) && has_labels(labels, &self.labels)
    }
}

/// Whose stats to list: of containers, or of pods, where `pod` stays empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatsFilter {
    /// Id or unique prefix, for [`select`]; empty for all.
    pub id: String,
    /// Id or unique prefix of the pod, for [`select`]; empty for all.
    pub pod: String,
    labels: Pairs,
}

impl StatsFilter {
    /// A filter for stats of containers, from the wire.
    #[must_use]
    pub fn of_containers(filter: Option<v1::ContainerStatsFilter>) -> Self {
        let filter = filter.unwrap_or_default();
        let labels = pairs(filter.label_selector);
        Self { id: filter.id, pod: filter.pod_sandbox_id, labels }
    }

    /// A filter for stats of pods, from the wire.
    #[must_use]
    pub fn of_pods(filter: Option<v1::PodSandboxStatsFilter>) -> Self {
        let filter = filter.unwrap_or_default();
        Self { id: filter.id, pod: String::new(), labels: pairs(filter.label_selector) }
    }

    /// Whether something with `labels` is wanted, ids aside.
    #[must_use]
    pub fn accepts(&self, labels: &Pairs) -> bool {
        has_labels(labels, &self.labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(wanted: &str) -> Vec<&'static str> {
        select(vec!["abc1", "abd2", "ab", "x", "x"], wanted, |id| id)
    }

    #[test]
    fn an_id_selects_exactly_or_by_unique_prefix() {
        assert_eq!(ids("").len(), 5);
        assert_eq!(ids("abc1"), ["abc1"]);
        assert_eq!(ids("abc"), ["abc1"]);
        assert_eq!(ids("ab"), ["ab"], "an exact match wins over longer ids");
        assert_eq!(ids("a"), Vec::<&str>::new(), "ambiguous");
        assert_eq!(ids("zz"), Vec::<&str>::new());
        assert_eq!(ids("x"), ["x", "x"], "all items of one key");
    }

    #[test]
    fn state_and_labels_are_both_needed() {
        let filter = PodFilter::new(Some(v1::PodSandboxFilter {
            state: Some(v1::PodSandboxStateValue { state: 0 }),
            label_selector: [("a".to_owned(), "1".to_owned())].into(),
            ..Default::default()
        }))
        .unwrap();
        let labels = Pairs::from([("a".into(), "1".into()), ("b".into(), "2".into())]);
        assert!(filter.accepts(v1::PodSandboxState::SandboxReady, &labels));
        assert!(!filter.accepts(v1::PodSandboxState::SandboxNotready, &labels));
        let other = Pairs::from([("a".into(), "2".into())]);
        assert!(!filter.accepts(v1::PodSandboxState::SandboxReady, &other));
        assert!(!filter.accepts(v1::PodSandboxState::SandboxReady, &Pairs::new()));
    }

    #[test]
    fn a_missing_filter_and_an_unset_state_accept_everything() {
        let filter = ContainerFilter::new(None).unwrap();
        for state in [v1::ContainerState::ContainerCreated, v1::ContainerState::ContainerUnknown] {
            assert!(filter.accepts(state, &Pairs::new()));
        }
        let unknown = v1::ContainerStateValue { state: 9 };
        let filter = v1::ContainerFilter { state: Some(unknown), ..Default::default() };
        assert!(ContainerFilter::new(Some(filter)).is_err());
    }
}
