// SPDX-License-Identifier: Apache-2.0
//! Header blocks: names and values, compressed over the whole life of a connection.

use flate2::{Decompress, FlushDecompress, Status};

use super::{SpdyError, dictionary::dictionary};

/// Most bytes of one block, decompressed. A client of the kubelet's kind sends fewer than 100.
const LONGEST: usize = 16 << 10;
/// Most headers of one block.
const MOST: usize = 64;

/// Headers of a stream; names are in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The value of a header, or nothing.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// All headers, as they came.
    #[must_use]
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// Reads a block after its decompression.
    pub(super) fn parse(block: &[u8]) -> Result<Self, SpdyError> {
        let mut rest = block;
        let count = number(&mut rest)?;
        if count > MOST {
            return Err(SpdyError::Headers("too many headers"));
        }
        let mut pairs: Vec<(String, String)> = Vec::with_capacity(count);
        for _ in 0..count {
            // Clients that write names as HTTP does are understood too.
            let name = text(&mut rest)?.to_ascii_lowercase();
            let value = text(&mut rest)?;
            if name.is_empty() || pairs.iter().any(|(n, _)| *n == name) {
                return Err(SpdyError::Headers("a name that is empty or there twice"));
            }
            pairs.push((name, value));
        }
        match rest {
            [] => Ok(Self(pairs)),
            _ => Err(SpdyError::Headers("bytes after the last header")),
        }
    }
}

fn number(rest: &mut &[u8]) -> Result<usize, SpdyError> {
    let (bytes, after) =
        rest.split_first_chunk::<4>().ok_or(SpdyError::Headers("a block that is cut off"))?;
    *rest = after;
    usize::try_from(u32::from_be_bytes(*bytes)).map_err(|_| SpdyError::Headers("a number"))
}

fn text(rest: &mut &[u8]) -> Result<String, SpdyError> {
    let length = number(rest)?;
    let (bytes, after) =
        rest.split_at_checked(length).ok_or(SpdyError::Headers("a block that is cut off"))?;
    *rest = after;
    String::from_utf8(bytes.to_vec()).map_err(|_| SpdyError::Headers("text that is not UTF-8"))
}

impl FromIterator<(String, String)> for Headers {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        Self(pairs.into_iter().collect())
    }
}

/// Decompresses the blocks of one direction of a connection.
#[derive(Debug)]
pub(super) struct Inflate(Decompress);

impl Inflate {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// Decompresses one block, which the sender has flushed.
    pub(super) fn block(&mut self, mut input: &[u8]) -> Result<Vec<u8>, SpdyError> {
        let mut block = Vec::new();
        let mut chunk = [0; 1 << 10];
        loop {
            let (read, written) = (self.0.total_in(), self.0.total_out());
            let done = self.0.decompress(input, &mut chunk, FlushDecompress::Sync);
            let taken = usize::try_from(self.0.total_in() - read).unwrap_or(usize::MAX);
            let made = usize::try_from(self.0.total_out() - written).unwrap_or(usize::MAX);
            input = input.get(taken..).ok_or(SpdyError::Compression)?;
            block.extend_from_slice(chunk.get(..made).ok_or(SpdyError::Compression)?);
            if block.len() > LONGEST {
                return Err(SpdyError::Headers("a block that is too long"));
            }
            match done {
                // Before the first block only, hence never twice.
                Err(e) if e.needs_dictionary().is_some() && read == 0 => {
                    self.0.set_dictionary(dictionary()).map_err(|_| SpdyError::Compression)?;
                }
                Err(_) | Ok(Status::StreamEnd) => return Err(SpdyError::Compression),
                Ok(_) if made == chunk.len() => {}
                Ok(_) if input.is_empty() => return Ok(block),
                Ok(_) if taken == 0 && made == 0 => return Err(SpdyError::Compression),
                Ok(_) => {}
            }
        }
    }
}
