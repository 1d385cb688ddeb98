// SPDX-License-Identifier: Apache-2.0
//! A terminal's sizes, as clients write them: JSON objects, one after the other. Pure.

use serde::Deserialize;

/// Most bytes that may wait for the end of an object.
const LONGEST: usize = 1 << 10;

/// A terminal's size, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Size {
    pub(super) width: u16,
    pub(super) height: u16,
}

/// Collects sizes from bytes that may come in any chunks.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    waiting: Vec<u8>,
}

impl Sizes {
    /// Adds bytes; answers with the last size that is complete now. What is no size is dropped.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Option<Size> {
        self.waiting.extend_from_slice(bytes);
        let mut objects = serde_json::Deserializer::from_slice(&self.waiting).into_iter::<Size>();
        let (mut last, mut used, mut broken) = (None, 0, false);
        while let Some(object) = objects.next() {
            match object {
                Ok(size) => (last, used) = (Some(size), objects.byte_offset()),
                Err(error) => broken = !error.is_eof(),
            }
        }
        if broken || self.waiting.len() - used > LONGEST {
            self.waiting = Vec::new();
        } else {
            self.waiting.drain(..used);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_complete_size_counts() {
        let mut sizes = Sizes::default();
        let text = b"{\"Width\":100,\"Height\":40}\n{\"Width\":101,\"Height\":41}\n{\"Wid";
        assert_eq!(sizes.add(text), Some(Size { width: 101, height: 41 }));
        assert_eq!(sizes.add(b"th\":7,\"Hei"), None);
        assert_eq!(sizes.add(b"ght\":8}"), Some(Size { width: 7, height: 8 }));
    }

    #[test]
    fn nonsense_is_dropped_and_does_not_pile_up() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.add(b"]]]"), None);
        for _ in 0..100 {
            assert_eq!(sizes.add(&[b' '; 100]), None);
            assert_eq!(sizes.add(b"{\"Width\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\""), None);
            assert!(sizes.waiting.len() <= LONGEST);
        }
        let mut sizes = Sizes::default();
        sizes.add(b"]]]");
        assert_eq!(sizes.add(b"{\"Width\":7,\"Height\":8}\n"), Some(Size { width: 7, height: 8 }));
    }
}
