// SPDX-License-Identifier: Apache-2.0
//! Frames as bytes. Pure.

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    CONTROL, FIN, GOAWAY, HEAD, PING, RST_STREAM, SYN_REPLY, StreamId, VERSION, dictionary,
};

/// Why a stream is refused: it makes no sense here.
pub const PROTOCOL_ERROR: u32 = 1;
/// Why a stream is refused: there are too many.
pub const REFUSED_STREAM: u32 = 3;
/// Why a stream is given up: it is of no use any more.
pub const CANCEL: u32 = 5;

/// A header block without headers.
const NO_HEADERS: [u8; 4] = [0; 4];

/// Writes the blocks of one direction of a connection.
///
/// A server's blocks are all empty, so they are stored and not compressed: ten bytes more on the
/// wire, and no compressor (a quarter of a megabyte) in the session.
#[derive(Debug, Default)]
pub struct Blocks {
    begun: bool,
}

impl Blocks {
    /// Accepts a stream.
    pub fn reply(&mut self, stream: StreamId) -> Bytes {
        let mut block = BytesMut::with_capacity(32);
        if !std::mem::replace(&mut self.begun, true) {
            // RFC 1950: deflate with a 32 KiB window, preset dictionary, and which one.
            block.put_u16(0x78bb);
            block.put_u32(dictionary::ID);
        }
        // RFC 1951: a stored block that is not the last, its length, and that length inverted.
        let length = u16::try_from(NO_HEADERS.len()).unwrap_or(0);
        block.put_u8(0);
        block.put_u16_le(length);
        block.put_u16_le(!length);
        block.put_slice(&NO_HEADERS);
        // An empty block, as a flush makes it: some decompressors hold back what came until then.
        block.put_slice(&[0, 0, 0, 0xff, 0xff]);
        control(SYN_REPLY, &[&stream.to_be_bytes(), &block])
    }
}

/// Bytes of a stream, and before them what every data frame begins with. At most 2^24 − 1.
pub fn data(stream: StreamId, bytes: &[u8]) -> Bytes {
    data_frame(stream, 0, bytes)
}

/// The end of a stream.
#[must_use]
pub fn end(stream: StreamId) -> Bytes {
    data_frame(stream, FIN, &[])
}

fn data_frame(stream: StreamId, flags: u8, bytes: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD + bytes.len());
    frame.put_u32(stream);
    put_length(&mut frame, flags, bytes.len());
    frame.put_slice(bytes);
    frame.freeze()
}

/// Gives a stream up.
#[must_use]
pub fn reset(stream: StreamId, status: u32) -> Bytes {
    control(RST_STREAM, &[&stream.to_be_bytes(), &status.to_be_bytes()])
}

/// Answers a ping.
#[must_use]
pub fn ping(id: u32) -> Bytes {
    control(PING, &[&id.to_be_bytes()])
}

/// Ends the connection without a complaint. `last` is the last stream that was accepted.
#[must_use]
pub fn go_away(last: StreamId) -> Bytes {
    control(GOAWAY, &[&last.to_be_bytes(), &[0; 4]])
}

fn control(kind: u16, parts: &[&[u8]]) -> Bytes {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut frame = BytesMut::with_capacity(HEAD + length);
    frame.put_u16(u16::from(CONTROL) << 8 | VERSION);
    frame.put_u16(kind);
    put_length(&mut frame, 0, length);
    parts.iter().for_each(|part| frame.put_slice(part));
    frame.freeze()
}

fn put_length(frame: &mut BytesMut, flags: u8, length: usize) {
    let length = u32::try_from(length).unwrap_or(u32::MAX) & 0x00ff_ffff;
    frame.put_u32(u32::from(flags) << 24 | length);
}
