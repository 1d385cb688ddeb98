// SPDX-License-Identifier: Apache-2.0
//! Cuts a stream of bytes into the records of a CRI log. Pure: what comes out depends on the
//! bytes alone, not on how they were chopped up on the way.

/// Longest text of one record, in bytes; kubelet's and its peers' limit.
pub(super) const LONGEST: usize = 16 << 10;

/// Whether a record ends its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Full,
    Partial,
}

/// One record's text, in two parts so that neither has to be copied first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) kept: &'a [u8],
    pub(super) fresh: &'a [u8],
    pub(super) tag: Tag,
}

/// The cutter of one stream. A line of up to [`LONGEST`] bytes is one full record; a longer one
/// is cut into partial records of that length and a full one.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    /// The beginning of a line whose end has not come yet; at most [`LONGEST`] bytes.
    kept: Vec<u8>,
}

impl Cutter {
    /// Takes the next bytes and emits the records that they complete.
    pub(super) fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(Record<'_>)) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let last = self.cut(&rest[..end], &mut emit);
            emit(Record { kept: &self.kept, fresh: last, tag: Tag::Full });
            self.kept = Vec::new();
            rest = &rest[end + 1..];
        }
        let last = self.cut(rest, &mut emit);
        self.kept.extend_from_slice(last);
    }

    /// Bytes that came and are in no record yet.
    pub(super) fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Emits what is left of a line that will not be ended.
    pub(super) fn finish(&mut self, mut emit: impl FnMut(Record<'_>)) {
        if !self.kept.is_empty() {
            emit(Record { kept: &self.kept, fresh: &[], tag: Tag::Partial });
            self.kept = Vec::new();
        }
    }

    /// Emits partial records while what is kept and `text` are too long for one.
    fn cut<'a>(&mut self, mut text: &'a [u8], emit: &mut impl FnMut(Record<'_>)) -> &'a [u8] {
        while self.kept.len() + text.len() > LONGEST {
            let (fresh, rest) = text.split_at(LONGEST - self.kept.len());
            emit(Record { kept: &self.kept, fresh, tag: Tag::Partial });
            self.kept = Vec::new();
            text = rest;
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records(chunks: &[&[u8]]) -> Vec<(Vec<u8>, Tag)> {
        let mut cutter = Cutter::default();
        let mut records = Vec::new();
        let mut emit = |r: Record<'_>| records.push(([r.kept, r.fresh].concat(), r.tag));
        for chunk in chunks {
            cutter.push(chunk, &mut emit);
        }
        cutter.finish(&mut emit);
        records
    }

    #[test]
    fn lines_are_full_and_what_has_no_end_is_partial() {
        assert_eq!(
            records(&[b"a\n\nb"]),
            [(b"a".to_vec(), Tag::Full), (b"".to_vec(), Tag::Full), (b"b".to_vec(), Tag::Partial)]
        );
        assert_eq!(records(&[b""]), []);
    }

    #[test]
    fn a_line_of_the_longest_length_is_one_record_and_one_byte_more_is_two() {
        let line = [vec![b'x'; LONGEST], b"\n".to_vec()].concat();
        assert_eq!(records(&[&line]), [(vec![b'x'; LONGEST], Tag::Full)]);
        let line = [vec![b'x'; LONGEST + 1], b"\n".to_vec()].concat();
        assert_eq!(
            records(&[&line]),
            [(vec![b'x'; LONGEST], Tag::Partial), (b"x".to_vec(), Tag::Full)]
        );
    }

    /// Text whose lines are around the limit as often as short.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let length =
            prop_oneof![4 => 0..200usize, 1 => LONGEST - 2..LONGEST + 3, 1 => 0..3 * LONGEST];
        prop::collection::vec((length, any::<bool>()), 0..8).prop_map(|lines| {
            let mut text = Vec::new();
            for (n, (length, ended)) in lines.into_iter().enumerate() {
                text.extend(std::iter::repeat_n(b'a' + u8::try_from(n).unwrap(), length));
                text.extend(ended.then_some(b'\n'));
            }
            text
        })
    }

    proptest! {
        #[test]
        fn chunks_do_not_change_the_records(
            text in text(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            prop_assert_eq!(records(&chunks), records(&[&text]));
        }

        #[test]
        fn records_joined_are_the_text(text in text()) {
            let mut joined = Vec::new();
            for (record, tag) in records(&[&text]) {
                prop_assert!(record.len() <= LONGEST);
                joined.extend(record);
                joined.extend((tag == Tag::Full).then_some(b'\n'));
            }
            prop_assert_eq!(joined, text);
        }
    }
}
