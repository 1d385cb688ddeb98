// SPDX-License-Identifier: Apache-2.0
//! The bytes on their way to the archive reader: decompressed, hashed, counted.

use std::io::{self, BufRead, BufReader, Read};

use crate::images::digest::{Digest, Hasher};

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// A zstd stream may begin with a frame to skip: 0x184D2A50 to 5F, low byte first (RFC 8878).
const ZSTD_SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];
const BUFFER: usize = 128 * 1024;

/// Finds out how `from` is compressed and undoes it. The bytes decide, not the media type: the
/// digest vouches for the bytes, nothing vouches for the label.
pub(crate) fn decompressor<'a>(from: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut from = BufReader::with_capacity(BUFFER, from);
    // A first read may be short; a magic number cut in two would be taken for plain data.
    let mut head = Vec::with_capacity(4);
    from.by_ref().take(4).read_to_end(&mut head)?;
    let kind = head.clone();
    let whole = BufReader::with_capacity(BUFFER, io::Cursor::new(head).chain(from));
    if kind.starts_with(GZIP) {
        Ok(Box::new(flate2::bufread::MultiGzDecoder::new(whole)))
    } else if kind.starts_with(ZSTD) || (kind.len() == 4 && kind[1..] == *ZSTD_SKIPPABLE) {
        Ok(Box::new(zstd::stream::read::Decoder::with_buffer(whole)?))
    } else {
        Ok(Box::new(Plain(whole)))
    }
}

struct Plain<R>(R);

impl<R: BufRead> Read for Plain<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

/// Hashes what passes and ends with an error at the limit.
pub(crate) struct DiffStream<R> {
    from: R,
    hasher: Hasher,
    left: u64,
}

impl<R: Read> DiffStream<R> {
    /// At most `limit` bytes of `from`.
    pub(crate) fn new(from: R, hasher: Hasher, limit: u64) -> Self {
        Self { from, hasher, left: limit }
    }

    /// The digest of all that passed.
    pub(crate) fn finish(self) -> Digest {
        self.hasher.finish()
    }
}

impl<R: Read> Read for DiffStream<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let got = self.from.read(into)?;
        self.hasher.update(&into[..got]);
        self.left = self.left.checked_sub(got as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::FileTooLarge, "the layer is bigger than this node allows")
        })?;
        Ok(got)
    }
}
