// SPDX-License-Identifier: Apache-2.0
//! A new plugin learns what is there: all pods and containers, in as many messages as it takes.

use std::time::Duration;

use crisp_nri::{self as nri, SynchronizeRequest, SynchronizeResponse};
use protobuf::Message;
use tokio::time::timeout;

use super::{
    books::{Coming, Entry},
    error::NriError,
    frame::PAYLOAD_MAX,
    plugin::Plugin,
    tell::{container_of, pod_of},
};
use crate::{
    containers::record::Phase,
    pods::{context::Context, error::PodError},
};

/// Most of a message that pods and containers fill; the rest is for what is around them.
const FILL: usize = PAYLOAD_MAX / 4 * 3;

/// Tells `plugin` of all there is, within `limit`; gives the updates it asks for.
///
/// # Errors
/// [`NriError`]; the plugin is of no use then.
pub async fn synchronize(
    context: &Context,
    plugin: &Plugin,
    entry: Entry,
    limit: Duration,
) -> Result<Vec<nri::ContainerUpdate>, NriError> {
    let (pods, containers) = collect(context, entry).await;
    tracing::debug!(
        plugin = plugin.name,
        pods = pods.len(),
        containers = containers.len(),
        "synchronizing NRI plugin"
    );
    let all = async {
        let mut updates = Vec::new();
        for message in split(pods, containers, FILL) {
            let answer: SynchronizeResponse = plugin.ask_within(limit, CALL, &message).await?;
            if message.more && !answer.more {
                let cause = "the plugin does not understand split messages".into();
                return Err(NriError::Malformed { plugin: plugin.name.clone(), call: CALL, cause });
            }
            updates.extend(answer.update);
        }
        Ok(updates)
    };
    // One limit for all of it, as events of all pods wait for it.
    let late = || NriError::Deadline { plugin: plugin.name.clone(), call: CALL, after: limit };
    timeout(limit, all).await.unwrap_or_else(|_| Err(late()))
}

const CALL: &str = "Synchronize";

/// Ready pods and their containers that have not ended.
async fn collect(context: &Context, entry: Entry) -> (Vec<nri::PodSandbox>, Vec<nri::Container>) {
    let (mut pods, mut containers) = (Vec::new(), Vec::new());
    let shown = |id: &str| !entry.going.iter().any(|going| going == id);
    for door in context.index.all() {
        let view = door.view.borrow().clone();
        if !view.pod.is_ready() || !shown(view.pod.id.as_str()) {
            continue;
        }
        pods.push(pod_of(context, &view.pod));
        for container in view.containers.iter().filter(|c| shown(c.id.as_str())) {
            if !matches!(container.phase, Phase::Exited(_)) {
                containers.push(container_of(context, container).await);
            }
        }
    }
    for coming in entry.coming {
        match coming {
            // It may have become visible since.
            Coming::Pod(pod) if pods.iter().all(|known| known.id != pod.id.as_str()) => {
                pods.push(pod_of(context, &pod));
            }
            Coming::Container(new) if containers.iter().all(|c| c.id != new.id.as_str()) => {
                containers.push(container_of(context, &new).await);
            }
            Coming::Pod(_) | Coming::Container(_) => {}
        }
    }
    (pods, containers)
}

/// Messages of at most about `fill` bytes each; at least one.
fn split(
    pods: Vec<nri::PodSandbox>,
    containers: Vec<nri::Container>,
    fill: usize,
) -> Vec<SynchronizeRequest> {
    let mut messages = vec![(0, SynchronizeRequest::new())];
    for pod in pods {
        room_for(&mut messages, pod.compute_size(), fill).pods.push(pod);
    }
    for container in containers {
        room_for(&mut messages, container.compute_size(), fill).containers.push(container);
    }
    let last = messages.len() - 1;
    let numbered = messages.into_iter().enumerate();
    numbered.map(|(at, (_, message))| SynchronizeRequest { more: at < last, ..message }).collect()
}

/// The message that has room for `size` more bytes.
fn room_for(
    messages: &mut Vec<(usize, SynchronizeRequest)>,
    size: u64,
    fill: usize,
) -> &mut SynchronizeRequest {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if messages.last().is_some_and(|(filled, _)| *filled > 0 && filled + size > fill) {
        messages.push((0, SynchronizeRequest::new()));
    }
    let at = messages.len() - 1;
    let (filled, message) = &mut messages[at];
    *filled += size;
    message
}

/// Why an update that a plugin asked for while it was synchronized was not made.
pub(super) fn log_failure(plugin: &Plugin, update: &nri::ContainerUpdate, error: &PodError) {
    let container = &update.container_id;
    tracing::warn!(plugin = plugin.name, container, %error, "update asked for by an NRI plugin");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pod(size: usize) -> nri::PodSandbox {
        nri::PodSandbox { id: "p".repeat(size), ..Default::default() }
    }

    fn container(size: usize) -> nri::Container {
        nri::Container { id: "c".repeat(size), ..Default::default() }
    }

    #[test]
    fn what_fits_goes_in_one_message() {
        for (pods, containers) in [(vec![], vec![]), (vec![pod(9)], vec![container(9)])] {
            let messages = split(pods.clone(), containers.clone(), 100);
            assert_eq!(messages.len(), 1);
            assert!(!messages[0].more);
            assert_eq!((&messages[0].pods, &messages[0].containers), (&pods, &containers));
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_message_is_too_long(
            pods in prop::collection::vec(1usize..60, 0..20),
            containers in prop::collection::vec(1usize..60, 0..20),
        ) {
            let pods: Vec<_> = pods.into_iter().map(pod).collect();
            let containers: Vec<_> = containers.into_iter().map(container).collect();
            let messages = split(pods.clone(), containers.clone(), 100);
            let (last, rest) = messages.split_last().unwrap();
            prop_assert!(!last.more && rest.iter().all(|message| message.more));
            for message in &messages {
                prop_assert!(message.compute_size() < 100 + 2 * 100);
            }
            let all = |m: &SynchronizeRequest| m.pods.clone();
            prop_assert_eq!(messages.iter().flat_map(all).collect::<Vec<_>>(), pods);
            let all = |m: &SynchronizeRequest| m.containers.clone();
            prop_assert_eq!(messages.iter().flat_map(all).collect::<Vec<_>>(), containers);
        }
    }
}
