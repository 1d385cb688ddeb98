// SPDX-License-Identifier: Apache-2.0
//! GetContainerEvents.

use std::time::Duration;

use anyhow::{Context as _, Result};
use crisp_cri::*;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::case::{Outcome, cases};
use crate::fixture::Test;
use crate::want::{equal, so};
use ContainerEventType::{
    ContainerCreatedEvent as Created, ContainerDeletedEvent as Deleted,
    ContainerStartedEvent as Started, ContainerStoppedEvent as Stopped,
};

cases! { "events";
    "a container's life gives CREATED, STARTED, STOPPED, DELETED in order" => life,
    "an exit by itself gives STOPPED" => own_exit,
    "a pod's life gives events with the pod's id" => pod_life,
    "an event carries the pod's and its containers' status" => statuses,
    "the status in STOPPED has the exit code" => exit_code,
    "several subscribers see the same events" => several,
    "a late subscriber sees no old events" [alone] => late,
    "a subscriber that does not read holds nobody up" => slow_reader,
    "event times are in nanoseconds and do not go backwards" => times,
}

/// A subscription, read by a task of its own: a runtime may answer the call only with the first
/// event, so nobody can wait for the answer.
struct Events {
    received: mpsc::UnboundedReceiver<Result<ContainerEventResponse>>,
    reader: JoinHandle<()>,
}

impl Drop for Events {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// What a subscriber does with the events.
enum Reader {
    Eager,
    Asleep,
}

async fn subscribe(t: &Test) -> Events {
    subscribe_as(t, Reader::Eager).await
}

async fn subscribe_as(t: &Test, reader: Reader) -> Events {
    let (sender, received) = mpsc::unbounded_channel();
    let cri = t.cri().clone();
    let reader = tokio::spawn(async move {
        let mut stream = match cri.get_container_events(GetEventsRequest {}).await {
            Ok(stream) => stream,
            Err(error) => return drop(sender.send(Err(error.into()))),
        };
        if matches!(reader, Reader::Asleep) {
            std::future::pending::<()>().await;
        }
        while let Some(event) = stream.message().await.transpose() {
            let event = event.context("GetContainerEvents broke off");
            if sender.send(event).is_err() {
                return;
            }
        }
    });
    // Nothing tells when a subscription is in place.
    tokio::time::sleep(Duration::from_millis(300)).await;
    Events { received, reader }
}

/// The next event about one of `ids`, other events passed over.
async fn next(events: &mut Events, ids: &[&str]) -> Result<ContainerEventResponse> {
    let find = async {
        loop {
            let event = events.received.recv().await.context("GetContainerEvents ended")??;
            if ids.contains(&event.container_id.as_str()) {
                return Ok::<_, anyhow::Error>(event);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), find)
        .await
        .with_context(|| format!("no event about {ids:?} within 10 s"))?
}

/// The kinds of the next events about `id`.
async fn kinds(events: &mut Events, id: &str, count: usize) -> Result<Vec<ContainerEventType>> {
    let mut kinds = Vec::new();
    while kinds.len() < count {
        match next(events, &[id]).await {
            Ok(event) => kinds.push(event.container_event_type()),
            Err(error) => return Err(error.context(format!("after {kinds:?}"))),
        }
    }
    Ok(kinds)
}

const LIFE: [ContainerEventType; 4] = [Created, Started, Stopped, Deleted];

async fn life(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let mut events = subscribe(&t).await;
    let container = pod.idle().await?;
    container.stop(0).await?;
    container.remove().await?;
    equal("events of the container", kinds(&mut events, &container.id, 4).await?, LIFE.to_vec())
}

async fn own_exit(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let mut events = subscribe(&t).await;
    let container = pod.script("sleep 0.3; exit 3").await?;
    let wanted = vec![Created, Started, Stopped];
    equal("events of the container", kinds(&mut events, &container.id, 3).await?, wanted)
}

async fn pod_life(t: Test) -> Outcome {
    let mut events = subscribe(&t).await;
    let pod = t.pod().await?;
    pod.stop().await?;
    pod.remove().await?;
    equal("events of the pod", kinds(&mut events, &pod.id, 4).await?, LIFE.to_vec())
}

async fn statuses(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let mut events = subscribe(&t).await;
    let container = pod.idle().await?;
    next(&mut events, &[&container.id]).await?;
    let event = next(&mut events, &[&container.id]).await?;
    equal("the second event", event.container_event_type(), Started)?;
    let sandbox = event.pod_sandbox_status.context("pod_sandbox_status is unset")?;
    equal("pod_sandbox_status.id", sandbox.id, pod.id)?;
    equal("pod_sandbox_status.metadata", sandbox.metadata, pod.config.metadata)?;
    let ids: Vec<_> = event.containers_statuses.iter().map(|s| s.id.clone()).collect();
    equal("containers_statuses", ids, vec![container.id])?;
    let state = event.containers_statuses[0].state();
    equal("state in STARTED", state, ContainerState::ContainerRunning)
}

async fn exit_code(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let mut events = subscribe(&t).await;
    let container = pod.script("exit 7").await?;
    let stopped = loop {
        let event = next(&mut events, &[&container.id]).await?;
        if event.container_event_type() == Stopped {
            break event;
        }
    };
    let status = stopped.containers_statuses.iter().find(|s| s.id == container.id);
    let status = status.context("containers_statuses does not have the container")?;
    equal("state in STOPPED", status.state(), ContainerState::ContainerExited)?;
    equal("exit_code in STOPPED", status.exit_code, 7)
}

async fn several(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let mut subscribers = [subscribe(&t).await, subscribe(&t).await, subscribe(&t).await];
    let container = pod.idle().await?;
    container.stop(0).await?;
    container.remove().await?;
    for (number, events) in subscribers.iter_mut().enumerate() {
        let kinds = kinds(events, &container.id, 4).await;
        let kinds = kinds.with_context(|| format!("subscriber {number} of 3"))?;
        equal(&format!("events of subscriber {number}"), kinds, LIFE.to_vec())?;
    }
    Ok(())
}

async fn late(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let container = pod.idle().await?;
    // What happened before is over once a second has passed.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut events = subscribe(&t).await;
    container.stop(0).await?;
    equal("the first event seen", kinds(&mut events, &container.id, 1).await?, vec![Stopped])
}

async fn slow_reader(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let _asleep = subscribe_as(&t, Reader::Asleep).await;
    let mut events = subscribe(&t).await;
    for _ in 0..5 {
        let container = pod.script("exit 0").await?;
        container.exited().await?;
        container.remove().await?;
        equal("events", kinds(&mut events, &container.id, 4).await?, LIFE.to_vec())?;
    }
    Ok(())
}

async fn times(t: Test) -> Outcome {
    let mut events = subscribe(&t).await;
    let before = super::pod::now_ns();
    let pod = t.pod().await?;
    let container = pod.script("exit 0").await?;
    container.exited().await?;
    container.remove().await?;
    let ids = [pod.id.as_str(), container.id.as_str()];
    let mut times = vec![before];
    loop {
        let event = next(&mut events, &ids).await?;
        times.push(event.created_at);
        if event.container_event_type() == Deleted {
            break;
        }
    }
    times.push(super::pod::now_ns());
    so("times in order", times.is_sorted(), times)
}
