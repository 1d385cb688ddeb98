// SPDX-License-Identifier: Apache-2.0
//! Choices that look random and are the same for the same seed.

use std::{ops::Range, time::Duration};

/// A generator of choices (splitmix64: Steele, Lea and Flood, 2014).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Begins with a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of the range.
    pub fn of(&mut self, range: Range<u64>) -> u64 {
        range.start + self.roll() % (range.end - range.start).max(1)
    }

    /// Milliseconds of the range.
    pub fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.of(range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_within_the_range() {
        let (mut one, mut two) = (Dice::new(3), Dice::new(3));
        for _ in 0..1000 {
            let number = one.of(5..9);
            assert!((5..9).contains(&number));
            assert_eq!(number, two.of(5..9));
        }
    }
}
