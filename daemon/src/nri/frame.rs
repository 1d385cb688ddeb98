// SPDX-License-Identifier: Apache-2.0
//! Frames on a plugin's socket, pure. Two ttrpc connections share it: each piece is led by the
//! number of its connection and its length, and holds a part of a ttrpc frame.
//!
//! ```text
//!  piece:  connection u32 │ length u32 │ bytes            (big endian)
//!  ttrpc:  length u32 │ stream u32 │ kind u8 │ flags u8 │ payload
//! ```

use std::collections::HashMap;

/// The plugin serves, the runtime calls.
pub const PLUGIN_CONNECTION: u32 = 1;
/// The runtime serves, the plugin calls.
pub const RUNTIME_CONNECTION: u32 = 2;
/// Largest payload of a ttrpc frame, bytes.
pub const PAYLOAD_MAX: usize = 4 << 20;

/// Length of a piece's head.
pub const PIECE_HEAD: usize = 8;
/// Largest piece: one whole ttrpc frame.
pub const PIECE_MAX: usize = FRAME_HEAD + PAYLOAD_MAX;
const FRAME_HEAD: usize = 10;
/// Length of the first piece of a frame. The Go end reads the head through a buffer of this size
/// and then straight into the payload; a piece that fits neither is an error to it.
const FIRST_PIECE: usize = 4096;

/// What a ttrpc frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A call.
    Request,
    /// An answer.
    Response,
    /// A part of a stream; NRI has none.
    Other(u8),
}

/// A ttrpc frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its call.
    pub stream: u32,
    /// What it is.
    pub kind: Kind,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// Bytes that cannot be a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A piece longer than any frame.
    #[error("a piece of {0} bytes on its connection; a frame has at most {PIECE_MAX}")]
    Piece(usize),
    /// A frame longer than allowed.
    #[error("a frame of {0} bytes; it has at most {PAYLOAD_MAX}")]
    Frame(usize),
}

impl Kind {
    fn of(byte: u8) -> Self {
        match byte {
            1 => Self::Request,
            2 => Self::Response,
            other => Self::Other(other),
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::Request => 1,
            Self::Response => 2,
            Self::Other(byte) => byte,
        }
    }
}

impl Frame {
    /// The frame in pieces on `connection`, ready to be sent.
    ///
    /// # Errors
    /// [`FrameError::Frame`] when it is too long.
    pub fn encode(&self, connection: u32) -> Result<Vec<u8>, FrameError> {
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        if self.payload.len() > PAYLOAD_MAX {
            return Err(FrameError::Frame(self.payload.len()));
        }
        let mut frame = Vec::with_capacity(FRAME_HEAD + self.payload.len());
        frame.extend(length.to_be_bytes());
        frame.extend(self.stream.to_be_bytes());
        frame.extend([self.kind.byte(), 0]);
        frame.extend(&self.payload);
        let (first, rest) = frame.split_at(frame.len().min(FIRST_PIECE));
        let mut pieces = Vec::with_capacity(frame.len() + 2 * PIECE_HEAD);
        for piece in [first, rest].into_iter().filter(|piece| !piece.is_empty()) {
            pieces.extend(connection.to_be_bytes());
            pieces.extend(u32::try_from(piece.len()).unwrap_or(u32::MAX).to_be_bytes());
            pieces.extend(piece);
        }
        Ok(pieces)
    }
}

/// Connection and length of the piece that `head` leads.
///
/// # Errors
/// [`FrameError::Piece`] when it is too long.
pub fn piece(head: [u8; PIECE_HEAD]) -> Result<(u32, usize), FrameError> {
    let (connection, length) = (number(&head, 0), number(&head, 4));
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > PIECE_MAX { Err(FrameError::Piece(length)) } else { Ok((connection, length)) }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.iter().skip(at).take(4).fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

/// Puts pieces together to frames, connection by connection.
#[derive(Debug, Default)]
pub struct Joiner {
    parts: HashMap<u32, Vec<u8>>,
}

impl Joiner {
    /// Takes a piece; gives the frames that it completes. Connections that nobody serves are
    /// passed over.
    ///
    /// # Errors
    /// [`FrameError::Frame`] when a frame says it is too long.
    pub fn take(&mut self, connection: u32, piece: &[u8]) -> Result<Vec<Frame>, FrameError> {
        if connection != PLUGIN_CONNECTION && connection != RUNTIME_CONNECTION {
            return Ok(Vec::new());
        }
        let part = self.parts.entry(connection).or_default();
        part.extend(piece);
        let (mut frames, mut at) = (Vec::new(), 0);
        while let Some(head) = part.get(at..at + FRAME_HEAD) {
            let length = usize::try_from(number(head, 0)).unwrap_or(usize::MAX);
            if length > PAYLOAD_MAX {
                return Err(FrameError::Frame(length));
            }
            let (stream, kind) = (number(head, 4), Kind::of(head[8]));
            let Some(payload) = part.get(at + FRAME_HEAD..at + FRAME_HEAD + length) else { break };
            frames.push(Frame { stream, kind, payload: payload.to_vec() });
            at += FRAME_HEAD + length;
        }
        part.drain(..at);
        Ok(frames)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(mut bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let mut all = Vec::new();
        while let Some((head, rest)) = bytes.split_first_chunk::<PIECE_HEAD>() {
            let (connection, length) = piece(*head).unwrap();
            all.push((connection, rest[..length].to_vec()));
            bytes = &rest[length..];
        }
        all
    }

    #[test]
    fn a_frame_is_sent_as_gos_buffers_take_it() {
        let frame = |length| Frame { stream: 5, kind: Kind::Request, payload: vec![7; length] };
        let lengths = |length| -> Vec<usize> {
            pieces(&frame(length).encode(1).unwrap()).iter().map(|(_, p)| p.len()).collect()
        };
        assert_eq!(lengths(0), [10]);
        assert_eq!(lengths(4086), [4096]);
        assert_eq!(lengths(4087), [4096, 1]);
        assert_eq!(lengths(100_000), [4096, 100_010 - 4096]);
        assert_eq!(lengths(PAYLOAD_MAX).len(), 2);
        let error = frame(PAYLOAD_MAX + 1).encode(1).unwrap_err();
        assert_eq!(error, FrameError::Frame(PAYLOAD_MAX + 1));
    }

    #[test]
    fn lengths_beyond_the_limit_are_refused_before_anything_is_kept() {
        let mut head = [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff];
        assert!(matches!(piece(head), Err(FrameError::Piece(_))));
        head[4..].copy_from_slice(&1u32.to_be_bytes());
        assert_eq!(piece(head).unwrap(), (1, 1));
        let mut joiner = Joiner::default();
        let error = joiner.take(1, &[0x7f, 0, 0, 0, 0, 0, 0, 1, 1, 0]).unwrap_err();
        assert!(matches!(error, FrameError::Frame(_)));
        assert_eq!(joiner.take(9, &[1; 100]).unwrap(), []);
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            payloads in prop::collection::vec((1u32..3, prop::collection::vec(any::<u8>(), 0..9000)), 1..5),
            cut in 1usize..5000,
        ) {
            let mut joiner = Joiner::default();
            let (mut sent, mut came) = (Vec::new(), Vec::new());
            for (number, (connection, payload)) in payloads.into_iter().enumerate() {
                let stream = u32::try_from(number).unwrap();
                let frame = Frame { stream, kind: Kind::Response, payload };
                for (connection, bytes) in pieces(&frame.encode(connection).unwrap()) {
                    for part in bytes.chunks(cut) {
                        came.extend(joiner.take(connection, part).unwrap());
                    }
                }
                sent.push(frame);
            }
            prop_assert_eq!(came, sent);
        }
    }
}
