// SPDX-License-Identifier: Apache-2.0

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{Decoder, Frame};

/// Bytes read at once; also the largest piece of a data frame.
const CHUNK: usize = 16 << 10;

/// Reads frames off a connection.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    decoder: Decoder,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Frames that come from `from`.
    pub fn new(from: R) -> Self {
        Self { from, decoder: Decoder::default(), buffer: BytesMut::new() }
    }

    /// The next frame; `None` at the connection's end. May be dropped at any time without loss.
    ///
    /// # Errors
    /// The connection's own, and `InvalidData` for what is no SPDY.
    pub async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let frame = self.decoder.next(&mut self.buffer);
            let frame = frame.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            if frame.is_some() {
                return Ok(frame);
            }
            self.buffer.reserve(CHUNK);
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}
