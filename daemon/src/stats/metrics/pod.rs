// SPDX-License-Identifier: Apache-2.0

use super::{Sample, Subject, emit::Emitter, table::*};
use crate::{cgroups::Usage, config::PodMetricGroup, stats::InterfaceCounters};

/// What is known of a pod as a whole.
#[derive(Debug, Clone)]
pub struct PodFacts<'a> {
    /// Values of the shared labels.
    pub subject: &'a Subject,
    /// From the pod's cgroup; `None` when it could not be read.
    pub usage: Option<&'a Usage>,
    /// The pod's interfaces; none with host networking.
    pub interfaces: &'a [InterfaceCounters],
}

/// Samples of a pod as a whole, for the groups that are served.
#[must_use]
pub fn pod_metrics(groups: &[PodMetricGroup], facts: &PodFacts<'_>) -> Vec<Sample> {
    let mut emitter = Emitter { subject: facts.subject, groups, samples: Vec::new() };
    if let Some(usage) = facts.usage {
        emitter.usage(usage);
    }
    for interface in facts.interfaces {
        let (received, sent) = (interface.received, interface.sent);
        for (metric, value) in [
            (&NET_RX_BYTES, received.bytes),
            (&NET_RX_PACKETS, received.packets),
            (&NET_RX_ERRORS, received.errors),
            (&NET_RX_DROPPED, received.dropped),
            (&NET_TX_BYTES, sent.bytes),
            (&NET_TX_PACKETS, sent.packets),
            (&NET_TX_ERRORS, sent.errors),
            (&NET_TX_DROPPED, sent.dropped),
        ] {
            emitter.add(metric, &[&interface.name], value);
        }
    }
    emitter.samples
}
