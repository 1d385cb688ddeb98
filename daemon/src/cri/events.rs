// SPDX-License-Identifier: Apache-2.0
//! Events to several subscribers, none of whom can hold up the runtime: each has a queue of its
//! own, and one that lets it fill up loses its stream, with a status that says so. The client
//! connects again and lists.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures::Stream;
use tokio::sync::mpsc;
use tonic::Status;

use super::status::{Kind, fault};

/// Sends each item to all who listen.
#[derive(Debug)]
pub struct Fanout<T> {
    subscribers: Mutex<Vec<Subscriber<T>>>,
    depth: usize,
}

#[derive(Debug)]
struct Subscriber<T> {
    queue: mpsc::Sender<T>,
    fell_behind: Arc<AtomicBool>,
}

/// One subscriber's stream of items. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription<T> {
    queue: mpsc::Receiver<T>,
    fell_behind: Arc<AtomicBool>,
    depth: usize,
}

impl<T: Clone> Fanout<T> {
    /// A fan-out whose subscribers may fall behind by `depth` items.
    #[must_use]
    pub fn new(depth: usize) -> Self {
        Self { subscribers: Mutex::default(), depth: depth.max(1) }
    }

    /// A stream of the items published from now on.
    pub fn subscribe(&self) -> Subscription<T> {
        let (sender, queue) = mpsc::channel(self.depth);
        let fell_behind = Arc::<AtomicBool>::default();
        let subscriber = Subscriber { queue: sender, fell_behind: Arc::clone(&fell_behind) };
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).push(subscriber);
        Subscription { queue, fell_behind, depth: self.depth }
    }

    /// Gives `item` to every subscriber without waiting for any. All subscribers see items in the
    /// same order.
    pub fn publish(&self, item: &T) {
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|subscriber| match subscriber.queue.try_send(item.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                subscriber.fell_behind.store(true, Ordering::Release);
                false
            }
        });
    }

    /// Whether anyone listens: making an event may be saved otherwise.
    pub fn has_subscribers(&self) -> bool {
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|subscriber| !subscriber.queue.is_closed());
        !subscribers.is_empty()
    }

    /// Ends all streams, after what is queued for them.
    pub fn close(&self) {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl<T> Stream for Subscription<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(self.queue.poll_recv(cx));
        Poll::Ready(match next {
            Some(item) => Some(Ok(item)),
            // Said once, then the stream is over.
            None if self.fell_behind.swap(false, Ordering::AcqRel) => {
                let text = format!(
                    "events were read too slowly: {} were waiting; connect again and list",
                    self.depth
                );
                Some(Err(fault(Kind::Exhausted, &text)))
            }
            None => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn every_subscriber_gets_every_item_from_when_it_came() {
        let fanout = Fanout::new(8);
        fanout.publish(&0);
        let mut first = fanout.subscribe();
        fanout.publish(&1);
        let mut second = fanout.subscribe();
        fanout.publish(&2);
        fanout.close();
        let items = |s: Vec<Result<i32, Status>>| s.into_iter().map(Result::unwrap).collect();
        let first: Vec<i32> = items(first.by_ref().collect().await);
        let second: Vec<i32> = items(second.by_ref().collect().await);
        assert_eq!((first, second), (vec![1, 2], vec![2]));
    }

    #[tokio::test]
    async fn a_slow_reader_loses_its_stream_and_nobody_else_does() {
        let fanout = Fanout::new(2);
        let slow = fanout.subscribe();
        let mut quick = fanout.subscribe();
        for n in 0..5 {
            fanout.publish(&n);
            assert_eq!(quick.next().await.unwrap().unwrap(), n);
        }
        let got: Vec<_> = slow.collect().await;
        assert_eq!(got.len(), 3, "what was queued, then the reason: {got:?}");
        assert_eq!(got[2].as_ref().unwrap_err().code(), tonic::Code::ResourceExhausted);
    }

    #[test]
    fn those_who_left_are_forgotten() {
        let fanout = Fanout::<u8>::new(1);
        assert!(!fanout.has_subscribers());
        let subscription = fanout.subscribe();
        assert!(fanout.has_subscribers());
        drop(subscription);
        assert!(!fanout.has_subscribers());
        let subscription = fanout.subscribe();
        drop(subscription);
        fanout.publish(&1);
        assert!(fanout.subscribers.lock().unwrap().is_empty());
    }
}
