// SPDX-License-Identifier: Apache-2.0
//! A subscriber's stream of events. Each subscriber has its own place in the domain's bounded
//! backlog, so none can hold up the runtime or another; one that falls too far behind loses its
//! stream with a status that says so, connects again and lists.

use std::pin::Pin;

use crisp_cri as v1;
use futures::{Stream, stream};
use tokio::sync::{broadcast, watch};
use tonic::Status;

use super::{
    Cri, show_container, show_pod,
    status::{Kind, fault},
};
use crate::pods::events::{EventKind, PodEvent};

/// A stream of answers.
pub type Answers<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// Translates what is heard on `events` until the daemon is `closing`.
pub fn follow<E, M>(
    events: broadcast::Receiver<E>,
    closing: watch::Receiver<bool>,
    translate: impl Fn(E) -> M + Send + 'static,
) -> Answers<M>
where
    E: Clone + Send + 'static,
    M: Send + 'static,
{
    let heard = Some((events, closing));
    Box::pin(stream::unfold((heard, translate), async |(heard, translate)| {
        let (mut events, mut closing) = heard?;
        let event = tokio::select! {
            event = events.recv() => event,
            // An error means that the daemon's end is past.
            _ = closing.wait_for(|closing| *closing) => return None,
        };
        match event {
            Ok(event) => Some((Ok(translate(event)), (Some((events, closing)), translate))),
            Err(broadcast::error::RecvError::Closed) => None,
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                let text = format!(
                    "events were read too slowly and {missed} are lost: connect again and list"
                );
                Some((Err(fault(Kind::Exhausted, &text)), (None, translate)))
            }
        }
    }))
}

impl Cri {
    pub(super) fn watch(&self) -> Answers<v1::ContainerEventResponse> {
        follow(self.node.context.events.subscribe(), self.closing.subscribe(), shown)
    }
}

/// An event with the pod and its containers as they were right after it.
fn shown(event: PodEvent) -> v1::ContainerEventResponse {
    let kind = match event.kind {
        EventKind::Created => v1::ContainerEventType::ContainerCreatedEvent,
        EventKind::Started => v1::ContainerEventType::ContainerStartedEvent,
        EventKind::Stopped => v1::ContainerEventType::ContainerStoppedEvent,
        EventKind::Deleted => v1::ContainerEventType::ContainerDeletedEvent,
    };
    let containers = event.view.containers.iter().filter(|c| c.is_visible());
    v1::ContainerEventResponse {
        container_id: event.id,
        container_event_type: kind.into(),
        created_at: event.at_ns,
        pod_sandbox_status: Some(show_pod::status(&event.view.pod)),
        containers_statuses: containers.map(|c| show_container::status(c)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    fn open() -> (watch::Sender<bool>, watch::Receiver<bool>) {
        watch::channel(false)
    }

    #[tokio::test]
    async fn every_subscriber_gets_every_event_from_when_it_came() {
        let (_closing, closed) = open();
        let events = broadcast::Sender::new(8);
        let first = follow(events.subscribe(), closed.clone(), |n| n * 10);
        events.send(1).unwrap();
        let second = follow(events.subscribe(), closed, |n| n * 10);
        events.send(2).unwrap();
        drop(events);
        let first: Vec<i32> = first.map(Result::unwrap).collect().await;
        let second: Vec<i32> = second.map(Result::unwrap).collect().await;
        assert_eq!((first, second), (vec![10, 20], vec![20]));
    }

    #[tokio::test]
    async fn a_slow_reader_loses_its_stream_and_nobody_else_does() {
        let (_closing, closed) = open();
        let events = broadcast::Sender::new(2);
        let slow = follow(events.subscribe(), closed.clone(), |n| n);
        let mut quick = follow(events.subscribe(), closed, |n| n);
        for n in 0..5 {
            events.send(n).unwrap();
            assert_eq!(quick.next().await.unwrap().unwrap(), n);
        }
        let got: Vec<_> = slow.collect().await;
        assert_eq!(got.len(), 1, "{got:?}");
        let status = got[0].as_ref().unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert!(status.message().contains("3 are lost"), "{status}");
    }

    #[tokio::test]
    async fn a_stream_ends_when_the_daemon_does() {
        let (closing, closed) = open();
        let events = broadcast::Sender::<u8>::new(2);
        let mut stream = follow(events.subscribe(), closed, |n| n);
        closing.send_replace(true);
        assert!(stream.next().await.is_none());
    }
}
