// SPDX-License-Identifier: Apache-2.0
//! Takes frames apart, in whatever chunks they come. Pure.

use bytes::{Buf, Bytes, BytesMut};

use super::{
    CONTROL, FIN, GOAWAY, HEAD, HEADERS, Headers, PING, RST_STREAM, SYN_REPLY, SYN_STREAM,
    StreamId, VERSION, headers::Inflate,
};

/// Longest control frame, bytes. Those of a client have fewer than 200.
const LONGEST: usize = 16 << 10;

/// What a peer sent that cannot be understood; the connection is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpdyError {
    /// Another version of the protocol, or another protocol.
    #[error("a frame of SPDY version {0}; version 3 is spoken here")]
    Version(u16),
    /// A control frame beyond the limit.
    #[error("a control frame of {0} bytes; at most {LONGEST} are taken")]
    TooLong(usize),
    /// A control frame whose length does not fit its type.
    #[error("a frame of type {0} with a wrong length")]
    Length(u16),
    /// Headers that are no headers.
    #[error("a header block with {0}")]
    Headers(&'static str),
    /// A header block that is not what zlib makes of the SPDY dictionary.
    #[error("a header block that cannot be decompressed")]
    Compression,
}

/// What a peer sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A stream begins.
    Open {
        /// The stream.
        stream: StreamId,
        /// Its headers.
        headers: Headers,
    },
    /// A stream was accepted.
    Reply {
        /// The stream.
        stream: StreamId,
    },
    /// Bytes of a stream; one frame on the wire may come in several pieces.
    Data {
        /// The stream.
        stream: StreamId,
        /// Some bytes, never none.
        bytes: Bytes,
    },
    /// No more bytes of this stream will come.
    End {
        /// The stream.
        stream: StreamId,
    },
    /// The stream was given up, in both directions.
    Reset {
        /// The stream.
        stream: StreamId,
    },
    /// To be sent back unchanged if its number is odd, a client's.
    Ping {
        /// Its number.
        id: u32,
    },
    /// The peer will open no more streams.
    GoAway,
}

/// Takes frames off a buffer.
#[derive(Debug)]
pub struct Decoder {
    inflate: Inflate,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Head,
    Control { kind: u16, flags: u8, length: usize },
    Data { stream: StreamId, flags: u8, left: usize },
    Ended { stream: StreamId },
}

impl Default for Decoder {
    fn default() -> Self {
        Self { inflate: Inflate::new(), state: State::Head }
    }
}

impl Decoder {
    /// Takes the next frame, or piece of a data frame, off `buffer`. `None`: more bytes are
    /// needed. Frames that mean nothing here (settings, window updates) are passed over.
    ///
    /// # Errors
    /// [`SpdyError`]; nothing that follows can be understood.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, SpdyError> {
        loop {
            match self.state {
                State::Head => {
                    if buffer.len() < HEAD {
                        return Ok(None);
                    }
                    self.state = head(&mut buffer.split_to(HEAD))?;
                }
                State::Ended { stream } => {
                    self.state = State::Head;
                    return Ok(Some(Frame::End { stream }));
                }
                State::Data { stream, flags, left: 0 } => {
                    let ends = flags & FIN != 0;
                    self.state = if ends { State::Ended { stream } } else { State::Head };
                }
                State::Data { stream, flags, left } => {
                    if buffer.is_empty() {
                        return Ok(None);
                    }
                    let bytes = buffer.split_to(left.min(buffer.len())).freeze();
                    self.state = State::Data { stream, flags, left: left - bytes.len() };
                    return Ok(Some(Frame::Data { stream, bytes }));
                }
                State::Control { kind, flags, length } => {
                    if buffer.len() < length {
                        return Ok(None);
                    }
                    self.state = State::Head;
                    if let Some(frame) = self.control(kind, flags, buffer.split_to(length))? {
                        return Ok(Some(frame));
                    }
                }
            }
        }
    }

    fn control(
        &mut self,
        kind: u16,
        flags: u8,
        mut body: BytesMut,
    ) -> Result<Option<Frame>, SpdyError> {
        // What stands before a header block: for a new stream its number, that of the stream it
        // belongs to, priority and slot; else its number.
        let least = match kind {
            SYN_STREAM => 10,
            RST_STREAM => 8,
            SYN_REPLY | HEADERS | PING => 4,
            _ => 0,
        };
        if body.len() < least {
            return Err(SpdyError::Length(kind));
        }
        let mut number = || body.get_u32() & 0x7fff_ffff;
        Ok(match kind {
            SYN_STREAM => {
                let stream = number();
                body.advance(6);
                let headers = Headers::parse(&self.inflate.block(&body)?)?;
                if flags & FIN != 0 {
                    self.state = State::Ended { stream };
                }
                Some(Frame::Open { stream, headers })
            }
            // Every block goes through the decompression, or the next could not be read.
            SYN_REPLY | HEADERS => {
                let stream = number();
                self.inflate.block(&body)?;
                if flags & FIN != 0 {
                    self.state = State::Ended { stream };
                }
                (kind == SYN_REPLY).then_some(Frame::Reply { stream })
            }
            RST_STREAM => Some(Frame::Reset { stream: number() }),
            PING => Some(Frame::Ping { id: body.get_u32() }),
            GOAWAY => Some(Frame::GoAway),
            _ => None,
        })
    }
}

fn head(bytes: &mut BytesMut) -> Result<State, SpdyError> {
    let control = bytes[0] & CONTROL != 0;
    let first = bytes.get_u32();
    let second = bytes.get_u32();
    let [flags, a, b, c] = second.to_be_bytes();
    let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
    if !control {
        return Ok(State::Data { stream: first, flags, left: length });
    }
    let [a, b, c, d] = first.to_be_bytes();
    let version = u16::from_be_bytes([a & !CONTROL, b]);
    if version != VERSION {
        return Err(SpdyError::Version(version));
    }
    if length > LONGEST {
        return Err(SpdyError::TooLong(length));
    }
    Ok(State::Control { kind: u16::from_be_bytes([c, d]), flags, length })
}
