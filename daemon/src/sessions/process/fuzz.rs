// SPDX-License-Identifier: Apache-2.0
//! Random input to whatever reads from a client: next to right conversations, broken in random
//! places. Nothing may panic, hang after the input's end, or hand on what makes no sense.
//!
//! `CRISP_FUZZ_SECONDS` is how long each target runs; a failure is shrunk and printed.

use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::{
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestRunner},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex, sink, split},
    time::timeout,
};

use super::{
    client::{Client, Input, Output},
    handshake::{Channels, Coding, HalfClose, Purpose, Speech, Status, agree},
    outcome::Outcome,
    pairs::{Opened, Pairs},
    wire::{Tunnel, Wire},
};
use crate::{
    containers::spec::Terminal,
    sessions::{
        spdy::{Decoder, Frame, dictionary},
        ticket::Wants,
    },
};

/// Longest for one conversation; most take less than a millisecond.
const LIMIT: Duration = Duration::from_secs(20);
const USUAL: u64 = 2;

/// Runs a target until its time is over.
fn fuzz<S: Strategy>(
    strategy: &S,
    check: impl Fn(S::Value) -> Result<(), TestCaseError>,
) -> Result<(), proptest::test_runner::TestError<S::Value>> {
    let asked = std::env::var("CRISP_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let until = Instant::now() + Duration::from_secs(asked.unwrap_or(USUAL));
    let mut conversations = 0_u64;
    let config = Config { cases: 50, failure_persistence: None, ..Config::default() };
    while Instant::now() < until {
        TestRunner::new(config.clone()).run(strategy, &check)?;
        conversations += u64::from(config.cases);
    }
    println!("{conversations} conversations");
    Ok(())
}

/// A part of a conversation over SPDY.
#[derive(Debug, Clone)]
enum Spdy {
    Open { stream: u32, flags: u8, headers: Vec<(String, String)> },
    Data { stream: u32, flags: u8, bytes: Vec<u8> },
    Control { kind: u16, flags: u8, body: Vec<u8> },
    Raw(Vec<u8>),
}

fn stream() -> impl Strategy<Value = u32> {
    prop_oneof![8 => select(vec![1_u32, 3, 5, 7, 9, 11]), 1 => any::<u32>()]
}

fn header() -> impl Strategy<Value = (String, String)> {
    const KINDS: &[&str] = &["error", "stdin", "stdout", "stderr", "resize", "data"];
    prop_oneof![
        6 => select(KINDS).prop_map(|kind| ("streamtype".to_owned(), kind.to_owned())),
        3 => (0_u32..70_000).prop_map(|port| ("port".to_owned(), port.to_string())),
        3 => (0_u32..4).prop_map(|id| ("requestid".to_owned(), id.to_string())),
        1 => ("[a-zA-Z:]{0,6}", "\\PC{0,8}"),
    ]
}

fn spdy() -> impl Strategy<Value = Spdy> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..200);
    let flags = || prop_oneof![6 => Just(0_u8), 3 => Just(1_u8), 1 => any::<u8>()];
    let sizes = "(\\{\"Width\":[0-9]{1,6},\"Height\":[0-9]{1,6}\\}\n?){0,3}";
    prop_oneof![
        6 => (stream(), flags(), prop::collection::vec(header(), 0..4))
            .prop_map(|(stream, flags, headers)| Spdy::Open { stream, flags, headers }),
        4 => (stream(), flags(), bytes())
            .prop_map(|(stream, flags, bytes)| Spdy::Data { stream, flags, bytes }),
        2 => (stream(), flags(), sizes).prop_map(|(stream, flags, text)| {
            Spdy::Data { stream, flags, bytes: text.into_bytes() }
        }),
        2 => (0_u16..12, flags(), bytes())
            .prop_map(|(kind, flags, body)| Spdy::Control { kind, flags, body }),
        1 => bytes().prop_map(Spdy::Raw),
    ]
}

fn spdy_bytes(parts: &[Spdy]) -> Vec<u8> {
    let mut zlib = flate2::Compress::new(flate2::Compression::default(), true);
    zlib.set_dictionary(dictionary()).unwrap();
    let mut all = Vec::new();
    let put_length = |all: &mut Vec<u8>, flags: u8, length: usize| {
        all.put_u32(u32::from(flags) << 24 | u32::try_from(length).unwrap());
    };
    for part in parts {
        match part {
            Spdy::Open { stream, flags, headers } => {
                let mut plain = Vec::new();
                plain.put_u32(u32::try_from(headers.len()).unwrap());
                for text in headers.iter().flat_map(|(name, value)| [name, value]) {
                    plain.put_u32(u32::try_from(text.len()).unwrap());
                    plain.put_slice(text.as_bytes());
                }
                let mut block = Vec::with_capacity(plain.len() + 100);
                zlib.compress_vec(&plain, &mut block, flate2::FlushCompress::Sync).unwrap();
                all.put_u32(0x8003_0001);
                put_length(&mut all, *flags, block.len() + 10);
                all.put_u32(*stream);
                all.put_slice(&[0; 6]);
                all.put_slice(&block);
            }
            Spdy::Data { stream, flags, bytes } => {
                all.put_u32(stream & 0x7fff_ffff);
                put_length(&mut all, *flags, bytes.len());
                all.put_slice(bytes);
            }
            Spdy::Control { kind, flags, body } => {
                all.put_u16(0x8003);
                all.put_u16(*kind);
                put_length(&mut all, *flags, body.len());
                all.put_slice(body);
            }
            Spdy::Raw(bytes) => all.put_slice(bytes),
        }
    }
    all
}

/// All streams of a command, so that what follows is reached; sometimes.
fn conversation() -> impl Strategy<Value = Vec<u8>> {
    let opening = prop_oneof![
        1 => Just(Vec::new()),
        3 => Just(vec!["error", "stdin", "stdout", "stderr"]),
        3 => Just(vec!["error", "stdin", "stdout", "resize"]),
    ];
    let parts = (opening, prop::collection::vec(spdy(), 0..12)).prop_map(|(opening, rest)| {
        let open = |(n, kind): (usize, &&str)| Spdy::Open {
            stream: u32::try_from(2 * n + 1).unwrap(),
            flags: 0,
            headers: vec![("streamtype".into(), (*kind).into())],
        };
        let mut parts: Vec<_> = opening.iter().enumerate().map(open).collect();
        parts.extend(rest);
        spdy_bytes(&parts)
    });
    (parts, breaks()).prop_map(|(bytes, breaks)| broken(bytes, &breaks))
}

/// What is done to right bytes.
#[derive(Debug, Clone)]
enum Break {
    Change(Index, u8),
    Drop(Index, u8),
    Double(Index, u8),
    End(Index),
}

fn breaks() -> impl Strategy<Value = Vec<Break>> {
    let one = prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, by)| Break::Change(at, by)),
        2 => (any::<Index>(), 1_u8..20).prop_map(|(at, count)| Break::Drop(at, count)),
        2 => (any::<Index>(), 1_u8..80).prop_map(|(at, count)| Break::Double(at, count)),
        1 => any::<Index>().prop_map(Break::End),
    ];
    prop_oneof![1 => Just(Vec::new()), 2 => prop::collection::vec(one, 0..4)]
}

fn broken(mut bytes: Vec<u8>, breaks: &[Break]) -> Vec<u8> {
    for one in breaks {
        if bytes.is_empty() {
            break;
        }
        let range = |at: &Index, count: u8| {
            let at = at.index(bytes.len());
            at..bytes.len().min(at + usize::from(count))
        };
        match one {
            Break::Change(at, by) => {
                let at = at.index(bytes.len());
                bytes[at] ^= by;
            }
            Break::Drop(at, count) => {
                bytes.drain(range(at, *count));
            }
            Break::Double(at, count) => {
                let range = range(at, *count);
                let again = bytes[range.clone()].to_vec();
                bytes.splice(range.end..range.end, again);
            }
            Break::End(at) => bytes.truncate(at.index(bytes.len())),
        }
    }
    bytes
}

/// WebSocket frames as a client sends them, some of them wrong.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        4 => (0_u8..6, prop::collection::vec(any::<u8>(), 0..200))
            .prop_map(|(channel, bytes)| [vec![channel], bytes].concat()),
        2 => Just(vec![255, 0]),
        2 => "[0-9][A-Za-z0-9+/=]{0,20}".prop_map(String::into_bytes),
        2 => "\\{\"Width\":[0-9]{1,6},\"Height\":[0-9]{1,6}\\}"
            .prop_map(|text| [vec![4], text.into_bytes()].concat()),
        1 => prop::collection::vec(any::<u8>(), 0..300),
    ];
    let opcode = select(vec![0x82_u8, 0x82, 0x82, 0x81, 0x89, 0x8a, 0x88, 0x02, 0x80, 0x00, 0x83]);
    let frame = (opcode, any::<[u8; 4]>(), payload).prop_map(|(opcode, mask, payload)| {
        let mut frame = vec![opcode];
        match u8::try_from(payload.len()) {
            Ok(length) if length < 126 => frame.put_u8(0x80 | length),
            _ => {
                frame.put_u8(0x80 | 126);
                frame.put_u16(u16::try_from(payload.len()).unwrap());
            }
        }
        frame.put_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    });
    (prop::collection::vec(frame, 0..12), breaks())
        .prop_map(|(frames, breaks)| broken(frames.concat(), &breaks))
}

/// Serves a client that sends `bytes` and goes, as a session does.
fn serve(
    bytes: &[u8],
    speech: Speech,
    wants: Wants,
    terminal: Terminal,
) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let conversation = async {
        let (here, there) = duplex(1 << 10);
        let (mut from, mut to) = split(here);
        let client = async move {
            let send = async move {
                // A server that has had enough takes no more.
                for chunk in bytes.chunks(37) {
                    if to.write_all(chunk).await.is_err() {
                        break;
                    }
                }
                let _ = to.shutdown().await;
            };
            tokio::join!(send, async { tokio::io::copy(&mut from, &mut sink()).await })
        };
        let wire: Wire = Box::new(there);
        let (_, served) = tokio::join!(client, converse(wire, speech, wants, terminal));
        served
    };
    let ended = runtime.block_on(async { timeout(LIMIT, conversation).await });
    ended.map_err(|_| TestCaseError::fail("it does not end with its client"))?
}

async fn converse(
    wire: Wire,
    speech: Speech,
    wants: Wants,
    terminal: Terminal,
) -> Result<(), TestCaseError> {
    let Ok(mut client) = Client::open(wire, speech, wants, terminal, LIMIT).await else {
        return Ok(());
    };
    let to = client.to.clone();
    let outputs = async {
        for output in [Output::Stdout, Output::Stderr] {
            if to.send(output, &[b'x'; 3000]).await.is_err() || to.end(output).await.is_err() {
                return;
            }
        }
    };
    let inputs = async {
        while let Some(input) = client.from.next().await {
            match input {
                Input::Stdin(bytes) => prop_assert!(wants.stdin && !bytes.is_empty()),
                Input::StdinEnd => {}
                Input::Resize(_) => {}
            }
        }
        Ok(())
    };
    let ((), taken) = tokio::join!(outputs, inputs);
    drop(to);
    client.finish(&Outcome::Exited(3)).await;
    taken
}

fn wants() -> impl Strategy<Value = (Wants, Terminal)> {
    let all = Wants { stdin: true, stdout: true, stderr: true };
    select(vec![
        (all, Terminal::None),
        (Wants { stderr: false, ..all }, Terminal::Tty),
        (Wants { stdin: false, ..all }, Terminal::None),
    ])
}

#[test]
fn fuzz_streams_over_spdy() {
    let speech = select(vec![Speech::Spdy(Status::Json), Speech::Spdy(Status::Text)]);
    let strategy = (conversation(), speech, wants());
    let check = |(bytes, speech, (wants, terminal)): (Vec<u8>, _, _)| {
        serve(&bytes, speech, wants, terminal)
    };
    fuzz(&strategy, check).unwrap();
}

#[test]
fn fuzz_channels_over_websocket() {
    let channels = |coding, half_close| {
        Speech::Channels(Channels { status: Status::Json, coding, half_close })
    };
    let speech = select(vec![
        channels(Coding::Bytes, HalfClose::Yes),
        channels(Coding::Bytes, HalfClose::No),
        channels(Coding::Base64, HalfClose::No),
    ]);
    let check = |(bytes, speech, (wants, terminal)): (Vec<u8>, _, (Wants, Terminal))| {
        // Channels that were not asked for are the client's own affair.
        serve(&bytes, speech, Wants { stdin: true, ..wants }, terminal)
    };
    fuzz(&(messages(), speech, wants()), check).unwrap();
}

#[test]
fn fuzz_ports_over_spdy() {
    let check = |(bytes, cut): (Vec<u8>, usize)| {
        let (mut decoder, mut pairs) = (Decoder::default(), Pairs::default());
        let mut buffer = BytesMut::new();
        for chunk in bytes.chunks(cut) {
            buffer.extend_from_slice(chunk);
            loop {
                match decoder.next(&mut buffer) {
                    Ok(Some(Frame::Open { stream, headers })) => {
                        if let Opened::Pair(pair) = pairs.open(stream, &headers) {
                            prop_assert!(pair.port != 0 && pair.error != pair.data);
                        }
                    }
                    Ok(Some(Frame::Reset { stream })) => pairs.give_up(stream),
                    Ok(Some(Frame::Data { bytes, .. })) => prop_assert!(!bytes.is_empty()),
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => return Ok(()),
                }
            }
            prop_assert!(buffer.len() < 70_000, "{} bytes pile up", buffer.len());
        }
        Ok(())
    };
    fuzz(&(conversation(), 1_usize..500), check).unwrap();
}

#[test]
fn fuzz_a_tunnel() {
    let check = |bytes: Vec<u8>| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let conversation = async {
            let (mut here, there) = duplex(bytes.len().max(1) + (1 << 16));
            // As much as fits without a reader: nobody reads what comes back.
            let _ = here.write_all(&bytes).await;
            let _ = here.shutdown().await;
            let mut tunnel = Tunnel::open(Box::new(there)).await;
            let mut all = Vec::new();
            let _ = tunnel.read_to_end(&mut all).await;
            all.len()
        };
        let ended = runtime.block_on(async { timeout(LIMIT, conversation).await });
        let came = ended.map_err(|_| TestCaseError::fail("it does not end with its client"))?;
        prop_assert!(came <= bytes.len());
        Ok(())
    };
    fuzz(&messages(), check).unwrap();
}

#[test]
fn fuzz_a_request_to_upgrade() {
    const NAMES: &[&str] = &[
        "connection",
        "upgrade",
        "x-stream-protocol-version",
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-protocol",
    ];
    const VALUES: &[&str] = &[
        "Upgrade",
        "keep-alive, upgrade",
        "SPDY/3.1",
        "websocket",
        "13",
        "v5.channel.k8s.io",
        "v4.base64.channel.k8s.io, v4.channel.k8s.io",
        "SPDY/3.1+portforward.k8s.io",
        "portforward.k8s.io",
        "",
    ];
    let value = prop_oneof![
        4 => select(VALUES).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ];
    let headers = prop::collection::vec((select(NAMES), value), 0..10);
    let purpose = select(vec![Purpose::Streams, Purpose::Ports]);
    let method = select(vec![Method::GET, Method::POST, Method::OPTIONS]);
    let check = |(headers, purpose, method): (Vec<(&'static str, Vec<u8>)>, Purpose, Method)| {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                map.append(HeaderName::from_static(name), value);
            }
        }
        match agree(purpose, &method, &map) {
            Ok(agreed) => {
                let tunnels = agreed.speech == Speech::Tunnel;
                prop_assert!(!tunnels || purpose == Purpose::Ports);
                prop_assert!(agreed.headers.contains_key("upgrade"));
            }
            Err(refusal) => prop_assert!(refusal.code.is_client_error()),
        }
        Ok(())
    };
    fuzz(&(headers, purpose, method), check).unwrap();
}
