// SPDX-License-Identifier: Apache-2.0
//! SPDY/3.1, as far as kubelets and their tools speak it: streams opened by the client, no flow
//! control (they neither send nor honour window updates), no server push.
//!
//! [`Decoder`] and [`encode`] are pure; [`Reader`] and [`encode`] are used by a session.

mod dictionary;
pub mod encode;
mod frame;
mod headers;
mod reader;
#[cfg(test)]
mod tests;

pub use dictionary::dictionary;
pub use frame::{Decoder, Frame, SpdyError};
pub use headers::Headers;
pub use reader::Reader;

/// Number of a stream; odd for those that the client opens.
pub type StreamId = u32;

const VERSION: u16 = 3;
const CONTROL: u8 = 0x80;
const FIN: u8 = 0x01;
/// Bytes before a frame's payload.
const HEAD: usize = 8;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
