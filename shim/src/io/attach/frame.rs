// SPDX-License-Identifier: Apache-2.0
//! Frames of an attachment: a byte for the stream, four for the length, then the bytes. Pure.

/// Length of what stands before the bytes.
pub(super) const HEADER: usize = 5;
/// Number of the stream into the container.
pub(super) const STDIN: u8 = 0;

/// What stands before `length` bytes of `stream`; a length of 0 ends the stream.
pub(super) fn header(stream: u8, length: usize) -> [u8; HEADER] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [stream, a, b, c, d]
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Some bytes of a stream; a frame may come in several pieces.
    Bytes(u8, &'a [u8]),
    /// The stream ends.
    End(u8),
}

/// Takes frames apart, in whatever chunks they come.
#[derive(Debug, Default)]
pub(super) struct Reader {
    header: [u8; HEADER],
    have: usize,
    left: u32,
}

impl Reader {
    /// Takes the next bytes off `bytes` that make a piece. `None`: more bytes are needed.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Piece<'a>> {
        if self.left == 0 {
            let wanted = (HEADER - self.have).min(bytes.len());
            let (fresh, rest) = bytes.split_at(wanted);
            self.header[self.have..self.have + wanted].copy_from_slice(fresh);
            (self.have, *bytes) = (self.have + wanted, rest);
            if self.have < HEADER {
                return None;
            }
            self.have = 0;
            let [stream, a, b, c, d] = self.header;
            self.left = u32::from_be_bytes([a, b, c, d]);
            if self.left == 0 {
                return Some(Piece::End(stream));
            }
        }
        if bytes.is_empty() {
            return None;
        }
        let take = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let (piece, rest) = bytes.split_at(take);
        *bytes = rest;
        self.left -= u32::try_from(take).unwrap_or(self.left);
        Some(Piece::Bytes(self.header[0], piece))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a reader finds in `chunks`, with pieces of one frame joined.
    fn read(chunks: &[&[u8]]) -> Vec<(u8, Vec<u8>)> {
        let (mut reader, mut found) = (Reader::default(), Vec::<(u8, Vec<u8>)>::new());
        for chunk in chunks {
            let mut chunk = *chunk;
            while let Some(piece) = reader.next(&mut chunk) {
                match piece {
                    Piece::End(stream) => found.push((stream, Vec::new())),
                    Piece::Bytes(stream, bytes) => match found.last_mut() {
                        Some((s, b)) if *s == stream && !b.is_empty() => b.extend(bytes),
                        _ => found.push((stream, bytes.to_vec())),
                    },
                }
            }
            assert!(chunk.is_empty(), "bytes were left");
        }
        found
    }

    proptest! {
        #[test]
        fn frames_are_read_back_from_any_chunks(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let mut wire = Vec::new();
            let mut expected = Vec::new();
            for (n, bytes) in frames.into_iter().enumerate() {
                let stream = u8::try_from(n).unwrap();
                wire.extend(header(stream, bytes.len()));
                wire.extend(&bytes);
                expected.push((stream, bytes));
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(wire.len() + 1)).collect();
            cuts.extend([0, wire.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &wire[w[0]..w[1]]).collect();
            prop_assert_eq!(read(&chunks), expected);
        }
    }
}
