// SPDX-License-Identifier: Apache-2.0
//! Lists as streams: one snapshot, cut into messages well below what a client receives, each item
//! in exactly one of them. An empty list is an empty stream.

use std::{iter::Peekable, vec};

use prost::Message;

/// Size a message aims at, bytes: small enough to be encoded without a stall, large enough that a
/// node's list is one or two messages.
pub const CHUNK_SIZE: usize = 1 << 20;

/// Cuts `items` into chunks of at most `size` encoded bytes; an item that is larger alone is a
/// chunk of its own. No chunk is empty.
pub fn chunks<T: Message>(items: Vec<T>, size: usize) -> Chunks<T> {
    Chunks { items: items.into_iter().peekable(), size }
}

/// What [`chunks`] gives.
#[derive(Debug)]
pub struct Chunks<T: Message> {
    items: Peekable<vec::IntoIter<T>>,
    size: usize,
}

impl<T: Message> Iterator for Chunks<T> {
    type Item = Vec<T>;

    fn next(&mut self) -> Option<Vec<T>> {
        let first = self.items.next()?;
        let mut used = size_in_list(&first);
        let mut chunk = vec![first];
        while let Some(item) = self.items.next_if(|item| used + size_in_list(item) <= self.size) {
            used += size_in_list(&item);
            chunk.push(item);
        }
        Some(chunk)
    }
}

/// Encoded size of `item` as an element of a repeated field with a number below 16.
fn size_in_list(item: &impl Message) -> usize {
    let length = item.encoded_len();
    1 + prost::length_delimiter_len(length) + length
}

#[cfg(test)]
mod tests {
    use crisp_cri as v1;
    use proptest::prelude::*;

    use super::*;

    fn pod(id: String) -> v1::PodSandbox {
        v1::PodSandbox { id, ..Default::default() }
    }

    #[test]
    fn nothing_is_no_chunk_at_all() {
        assert_eq!(chunks(Vec::<v1::PodSandbox>::new(), 100).count(), 0);
    }

    proptest! {
        #[test]
        fn every_item_comes_once_in_order_and_no_message_is_too_large(
            lengths in proptest::collection::vec(0usize..300, 0..60),
            size in 1usize..1000,
        ) {
            let items: Vec<_> = lengths.iter().map(|n| pod("x".repeat(*n))).collect();
            let cut: Vec<_> = chunks(items.clone(), size).collect();
            prop_assert_eq!(cut.concat(), items);
            for pod_sandboxes in cut {
                prop_assert!(!pod_sandboxes.is_empty());
                let alone = pod_sandboxes.len() == 1;
                let message = v1::StreamPodSandboxesResponse { pod_sandboxes };
                prop_assert!(alone || message.encoded_len() <= size);
            }
        }
    }
}
