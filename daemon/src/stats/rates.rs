// SPDX-License-Identifier: Apache-2.0

use std::collections::HashMap;

/// Shortest time over which a rate is taken, in nanoseconds: a shorter one says more about the
/// clock than about the container.
const SHORTEST_NS: i64 = 500_000_000;

/// Turns counters of CPU time into rates, by the reading before.
#[derive(Debug, Default)]
pub struct Rates {
    known: HashMap<String, Reading>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    at_ns: i64,
    total_ns: u64,
    rate: Option<u64>,
}

impl Rates {
    /// Takes a reading of `id` and answers with the rate since the one before, in billionths of a
    /// CPU. `None` for the first reading, and for one after the counter was reset.
    pub fn next(&mut self, id: &str, at_ns: i64, total_ns: u64) -> Option<u64> {
        let Some(last) = self.known.get_mut(id) else {
            self.known.insert(id.to_owned(), Reading { at_ns, total_ns, rate: None });
            return None;
        };
        let window = at_ns.saturating_sub(last.at_ns);
        if total_ns < last.total_ns || window < 0 {
            *last = Reading { at_ns, total_ns, rate: None };
        } else if window >= SHORTEST_NS {
            let used = u128::from(total_ns - last.total_ns) * 1_000_000_000;
            let rate = used / u128::from(window.unsigned_abs());
            *last = Reading { at_ns, total_ns, rate: Some(rate.try_into().unwrap_or(u64::MAX)) };
        }
        last.rate
    }

    /// Forgets all that `lives` says no to.
    pub fn retain(&mut self, lives: impl Fn(&str) -> bool) {
        self.known.retain(|id, _| lives(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_rate_needs_two_readings_and_is_kept_between_close_ones() {
        let mut rates = Rates::default();
        assert_eq!(rates.next("a", 0, 0), None);
        assert_eq!(rates.next("a", SECOND / 10, 1), None);
        assert_eq!(rates.next("a", 2 * SECOND, 500_000_000), Some(250_000_000));
        assert_eq!(rates.next("a", 2 * SECOND + 1, 900_000_000), Some(250_000_000));
        assert_eq!(rates.next("b", 2 * SECOND, 7), None);
    }

    #[test]
    fn a_counter_that_went_back_starts_anew() {
        let mut rates = Rates::default();
        rates.next("a", 0, 500);
        assert_eq!(rates.next("a", SECOND, 100), None);
        assert_eq!(rates.next("a", 2 * SECOND, 100), Some(0));
        assert_eq!(rates.next("a", SECOND, 100), None, "the clock went back");
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut rates = Rates::default();
        rates.next("a", 0, 0);
        rates.retain(|id| id != "a");
        assert!(rates.known.is_empty());
    }
}
