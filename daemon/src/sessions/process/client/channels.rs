// SPDX-License-Identifier: Apache-2.0
//! A client that sends WebSocket messages, each for one channel.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{StreamExt, stream::SplitStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

use super::{
    super::{
        handshake::{Channels, Coding, HalfClose},
        outbox::MessageKind,
        resize::Sizes,
        wire::{self, Wire},
    },
    Gone, Input, Outbox, Outcome, Output,
};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Ends the channel that the next byte names.
const CLOSE: u8 = 255;

pub(in super::super) struct From {
    messages: SplitStream<WebSocketStream<Wire>>,
    protocol: Channels,
    sizes: Sizes,
}

#[derive(Clone)]
pub(in super::super) struct To {
    outbox: Outbox,
    protocol: Channels,
}

pub(super) async fn open(
    wire: Wire,
    protocol: Channels,
    stall: Duration,
) -> (From, To, JoinHandle<()>) {
    let socket =
        WebSocketStream::from_raw_socket(wire, Role::Server, Some(wire::message_limits())).await;
    let (sink, messages) = socket.split();
    let kind = match protocol.coding {
        Coding::Bytes => MessageKind::Binary,
        Coding::Base64 => MessageKind::Text,
    };
    let (outbox, task) = Outbox::messages(sink, kind, stall);
    (From { messages, protocol, sizes: Sizes::default() }, To { outbox, protocol }, task)
}

impl From {
    pub(super) async fn next(&mut self) -> Option<Input> {
        loop {
            let message = match self.messages.next().await?.ok()? {
                Message::Binary(bytes) => bytes,
                Message::Text(text) if self.protocol.coding == Coding::Base64 => text.into(),
                // Pings are answered below this.
                Message::Ping(_) | Message::Pong(_) => continue,
                Message::Text(_) | Message::Close(_) | Message::Frame(_) => return None,
            };
            let (channel, bytes) = take_apart(message, self.protocol.coding)?;
            match channel {
                STDIN if !bytes.is_empty() => return Some(Input::Stdin(bytes)),
                RESIZE => {
                    if let Some(size) = self.sizes.add(&bytes) {
                        return Some(Input::Resize(size));
                    }
                }
                CLOSE if self.protocol.half_close == HalfClose::Yes && bytes[..] == [STDIN] => {
                    return Some(Input::StdinEnd);
                }
                _ => {}
            }
        }
    }
}

/// The channel of a message and its bytes; `None` for one that is not written as agreed.
fn take_apart(mut message: Bytes, coding: Coding) -> Option<(u8, Bytes)> {
    if message.is_empty() {
        return Some((CLOSE, message));
    }
    let first = message.split_to(1)[0];
    match coding {
        Coding::Bytes => Some((first, message)),
        Coding::Base64 => {
            let channel = char::from(first).to_digit(10)?;
            let bytes = BASE64_STANDARD.decode(&message).ok()?;
            Some((u8::try_from(channel).ok()?, bytes.into()))
        }
    }
}

/// A message for a channel.
fn put_together(channel: u8, bytes: &[u8], coding: Coding) -> Bytes {
    match coding {
        Coding::Bytes => {
            let mut message = BytesMut::with_capacity(1 + bytes.len());
            message.put_u8(channel);
            message.put_slice(bytes);
            message.freeze()
        }
        Coding::Base64 => {
            let mut message = String::with_capacity(2 + bytes.len() * 4 / 3);
            message.push(char::from(b'0' + channel));
            BASE64_STANDARD.encode_string(bytes, &mut message);
            message.into()
        }
    }
}

impl To {
    pub(super) async fn send(&self, output: Output, bytes: &[u8]) -> Result<(), Gone> {
        let channel = match output {
            Output::Stdout => STDOUT,
            Output::Stderr => STDERR,
        };
        self.outbox.send(put_together(channel, bytes, self.protocol.coding)).await
    }

    pub(super) async fn finish(&self, outcome: &Outcome) -> Result<(), Gone> {
        let status = outcome.write(self.protocol.status);
        if !status.is_empty() {
            self.outbox.send(put_together(ERROR, &status, self.protocol.coding)).await?;
        }
        self.outbox.close().await
    }

    pub(super) fn outbox(&self) -> &Outbox {
        &self.outbox
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_back_in_both_codings() {
        for coding in [Coding::Bytes, Coding::Base64] {
            for bytes in [&b""[..], b"x", b"hello\n", &[0, 255, 7, 128]] {
                let message = put_together(STDERR, bytes, coding);
                let (channel, back) = take_apart(message, coding).unwrap();
                assert_eq!((channel, &back[..]), (STDERR, bytes));
            }
        }
        assert_eq!(&put_together(STDOUT, b"hi", Coding::Base64)[..], b"1aGk=");
        assert_eq!(take_apart(Bytes::from_static(b"0***"), Coding::Base64), None);
        assert_eq!(take_apart(Bytes::from_static(b"xaGk="), Coding::Base64), None);
    }
}
