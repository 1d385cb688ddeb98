// SPDX-License-Identifier: Apache-2.0
//! Which cases run, and in which order.

use anyhow::{Context as _, Result};
use regex::RegexSet;

use crate::case::Case;

/// Chooses cases by their names.
#[derive(Debug)]
pub struct Selection {
    focus: RegexSet,
    skip: RegexSet,
}

impl Selection {
    /// Patterns are regular expressions, so plain parts of a name work too. With no focus all
    /// cases are in; a skip always wins.
    pub fn new(focus: &[String], skip: &[String]) -> Result<Self> {
        Ok(Self {
            focus: RegexSet::new(focus).context("--focus")?,
            skip: RegexSet::new(skip).context("--skip")?,
        })
    }

    pub fn takes(&self, name: &str) -> bool {
        (self.focus.is_empty() || self.focus.is_match(name)) && !self.skip.is_match(name)
    }
}

/// Orders `cases` at random: the same seed gives the same order.
pub fn shuffle(cases: &mut [Case], seed: u64) {
    let mut state = seed;
    for last in (1..cases.len()).rev() {
        let pick = next(&mut state) % (last as u64 + 1);
        cases.swap(last, usize::try_from(pick).unwrap_or(last));
    }
}

/// The splitmix64 generator.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(focus: &[&str], skip: &[&str]) -> Selection {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        Selection::new(&own(focus), &own(skip)).unwrap()
    }

    #[test]
    fn a_skip_wins_over_a_focus() {
        let chosen = selection(&["^log/", "oom"], &["tty"]);
        assert!(chosen.takes("log/lines"));
        assert!(chosen.takes("container/oom kill"));
        assert!(!chosen.takes("log/a tty"));
        assert!(!chosen.takes("exec/log"));
    }

    #[test]
    fn the_same_seed_gives_the_same_order() {
        let order = |seed| {
            let mut cases = crate::groups::all();
            shuffle(&mut cases, seed);
            cases.iter().map(|c| c.name).collect::<Vec<_>>()
        };
        assert_eq!(order(7), order(7));
        assert_ne!(order(7), order(8));
    }
}
