// SPDX-License-Identifier: Apache-2.0
//! Bytes of which each can be told apart from those at any other place of the stream, near enough:
//! numbered blocks of noise.

use anyhow::{Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::dice::Dice;

/// Bytes of a block.
pub const BLOCK: usize = 64 << 10;

/// A stream of blocks.
#[derive(Debug, Clone)]
pub struct Pattern {
    block: Vec<u8>,
}

impl Pattern {
    /// The one of a seed.
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        Self { block: (0..BLOCK / 8).flat_map(|_| dice.roll().to_be_bytes()).collect() }
    }

    /// The block of a number.
    pub fn block(&mut self, number: u64) -> &[u8] {
        self.block[..8].copy_from_slice(&number.to_be_bytes());
        &self.block
    }

    /// Writes the blocks of the range.
    pub async fn write(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
        blocks: std::ops::Range<u64>,
    ) -> Result<()> {
        for number in blocks {
            to.write_all(self.block(number)).await?;
        }
        Ok(to.flush().await?)
    }

    /// Reads `count` blocks and then the end; fails where a byte is not as it was written.
    pub async fn read(&mut self, from: &mut (impl AsyncRead + Unpin), count: u64) -> Result<()> {
        let mut came = vec![0; BLOCK];
        for number in 0..count {
            let read = read_full(from, &mut came).await?;
            ensure!(read == BLOCK, "the stream ended {read} bytes into block {number} of {count}");
            ensure!(came == self.block(number), "block {number} of {count} is not what was sent");
        }
        let more = from.read(&mut came).await?;
        ensure!(more == 0, "more came than was sent");
        Ok(())
    }
}

async fn read_full(from: &mut (impl AsyncRead + Unpin), to: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < to.len() {
        match from.read(&mut to[filled..]).await? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lost_a_doubled_and_a_changed_byte_are_found() {
        let mut pattern = Pattern::new(1);
        let mut bytes = Vec::new();
        pattern.write(&mut bytes, 0..3).await.unwrap();
        assert!(pattern.read(&mut bytes.as_slice(), 3).await.is_ok());
        let broken = [
            [&bytes[..70_000], &bytes[70_001..]].concat(),
            [&bytes[..BLOCK], &bytes[..]].concat(),
            [&bytes[..100_000], &[!bytes[100_000]], &bytes[100_001..]].concat(),
            [&bytes[..], &[0]].concat(),
        ];
        for bytes in broken {
            assert!(pattern.read(&mut bytes.as_slice(), 3).await.is_err());
        }
    }
}
