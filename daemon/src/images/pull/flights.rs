// SPDX-License-Identifier: Apache-2.0
//! Work that several callers want, done once.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};

use crate::images::error::ImageError;

type Outcome<T> = Result<T, ImageError>;
/// Work in progress. It goes on while anybody awaits a clone, and stops when all are dropped.
pub(super) type Flight<T> = Shared<BoxFuture<'static, Outcome<T>>>;

/// Work in progress by key.
pub(super) struct Flights<K, T: Clone> {
    going: Mutex<HashMap<K, WeakShared<BoxFuture<'static, Outcome<T>>>>>,
}

/// Whose work it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seat {
    Leader,
    Passenger,
}

impl<K: Eq + Hash + Clone, T: Clone + Send + Sync + 'static> Flights<K, T> {
    pub(super) fn new() -> Self {
        Self { going: Mutex::new(HashMap::new()) }
    }

    /// Joins the work for `key`, or starts it. Another's failure may be due to its rights or its
    /// registry: then the caller does the work itself.
    pub(super) async fn join<F, W>(&self, key: K, work: W) -> Outcome<T>
    where
        F: Future<Output = Outcome<T>> + Send + 'static,
        W: Fn() -> F,
    {
        loop {
            let (flight, seat) = self.board(key.clone(), &work);
            let outcome = flight.await;
            if outcome.is_ok() || seat == Seat::Leader {
                return outcome;
            }
        }
    }

    fn board<F, W>(&self, key: K, work: W) -> (Flight<T>, Seat)
    where
        F: Future<Output = Outcome<T>> + Send + 'static,
        W: FnOnce() -> F,
    {
        let mut going = self.going.lock().unwrap_or_else(PoisonError::into_inner);
        let known = going.get(&key).and_then(WeakShared::upgrade);
        // Work that has ended is history, however it ended: what it made may be gone again.
        if let Some(flight) = known.filter(|flight| flight.peek().is_none()) {
            return (flight, Seat::Passenger);
        }
        going.retain(|_, flight| flight.upgrade().is_some_and(|f| f.peek().is_none()));
        let flight = work().boxed().shared();
        if let Some(weak) = flight.downgrade() {
            going.insert(key, weak);
        }
        (flight, Seat::Leader)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn equal_work_is_done_once_and_again_only_after_it_ended() {
        let flights = Flights::<u8, usize>::new();
        let runs = Arc::new(AtomicUsize::new(0));
        let work = || {
            let runs = Arc::clone(&runs);
            async move {
                tokio::task::yield_now().await;
                Ok(runs.fetch_add(1, Ordering::SeqCst))
            }
        };
        let (a, b) = tokio::join!(flights.join(1, work), flights.join(1, work));
        assert_eq!((a.unwrap(), b.unwrap()), (0, 0));
        assert_eq!(flights.join(1, work).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn work_goes_on_for_the_others_when_its_leader_leaves() {
        let flights = Arc::new(Flights::<u8, u8>::new());
        let gate = Arc::new(Notify::new());
        let work = |gate: Arc<Notify>| {
            move || {
                let gate = Arc::clone(&gate);
                async move {
                    gate.notified().await;
                    Ok(7)
                }
            }
        };
        let leader = tokio::spawn({
            let (flights, gate) = (Arc::clone(&flights), Arc::clone(&gate));
            async move { flights.join(1, work(gate)).await }
        });
        tokio::task::yield_now().await;
        let passenger = tokio::spawn({
            let (flights, gate) = (Arc::clone(&flights), Arc::clone(&gate));
            async move { flights.join(1, work(gate)).await }
        });
        tokio::task::yield_now().await;
        leader.abort();
        let _ = leader.await;
        gate.notify_one();
        assert_eq!(passenger.await.unwrap().unwrap(), 7);
    }

    #[tokio::test]
    async fn a_passenger_tries_itself_when_the_leader_failed() {
        let flights = Flights::<u8, &'static str>::new();
        let fails = || async {
            tokio::task::yield_now().await;
            Err(ImageError::Abandoned { what: "leader".to_owned() })
        };
        let works = || async { Ok("mine") };
        let (a, b) = tokio::join!(flights.join(1, fails), flights.join(1, works));
        assert!(a.is_err());
        assert_eq!(b.unwrap(), "mine");
    }
}
