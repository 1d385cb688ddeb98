// SPDX-License-Identifier: Apache-2.0

use bytes::{BufMut, BytesMut};
use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

use super::*;

/// The compressing side of a client.
struct Client(Compress);

impl Client {
    fn new() -> Self {
        let mut zlib = Compress::new(Compression::default(), true);
        zlib.set_dictionary(dictionary()).unwrap();
        Self(zlib)
    }

    fn block(&mut self, headers: &[(String, String)]) -> Vec<u8> {
        let mut plain = Vec::new();
        plain.put_u32(u32::try_from(headers.len()).unwrap());
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.put_u32(u32::try_from(text.len()).unwrap());
            plain.put_slice(text.as_bytes());
        }
        self.compress(&plain)
    }

    fn compress(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut packed = Vec::with_capacity(plain.len() + 200);
        self.0.compress_vec(plain, &mut packed, FlushCompress::Sync).unwrap();
        packed
    }

    fn open(&mut self, stream: u32, flags: u8, headers: &[(String, String)]) -> Vec<u8> {
        let block = self.block(headers);
        raw_open(stream, flags, &block)
    }
}

fn raw_open(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.put_u32(0x8003_0001);
    frame.put_u32(u32::from(flags) << 24 | u32::try_from(block.len() + 10).unwrap());
    frame.put_u32(stream);
    frame.put_slice(&[0; 6]);
    frame.put_slice(block);
    frame
}

/// Everything that is found in `wire`, cut at `cuts`; pieces of neighbouring data are joined.
fn decode(wire: &[u8], cuts: &[prop::sample::Index]) -> Result<Vec<Frame>, SpdyError> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
    cuts.extend([0, wire.len()]);
    cuts.sort_unstable();
    let (mut decoder, mut buffer) = (Decoder::default(), BytesMut::new());
    let mut found: Vec<Frame> = Vec::new();
    for chunk in cuts.windows(2).map(|w| &wire[w[0]..w[1]]) {
        buffer.extend_from_slice(chunk);
        while let Some(frame) = decoder.next(&mut buffer)? {
            match (found.last_mut(), frame) {
                (
                    Some(Frame::Data { stream, bytes }),
                    Frame::Data { stream: same, bytes: more },
                ) if *stream == same => {
                    *bytes = [bytes.as_ref(), more.as_ref()].concat().into();
                }
                (_, frame) => found.push(frame),
            }
        }
    }
    Ok(found)
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[derive(Debug, Clone)]
enum Sent {
    Open(Vec<(String, String)>, bool),
    Data(Vec<u8>),
    End,
    Reset,
    Ping(u32),
    Settings(Vec<u8>),
}

fn sent() -> impl Strategy<Value = Sent> {
    let headers = prop::collection::btree_map("[a-z-]{1,12}", ".{0,20}", 0..6);
    prop_oneof![
        (headers, any::<bool>()).prop_map(|(h, fin)| Sent::Open(h.into_iter().collect(), fin)),
        prop::collection::vec(any::<u8>(), 1..200).prop_map(Sent::Data),
        Just(Sent::End),
        Just(Sent::Reset),
        any::<u32>().prop_map(Sent::Ping),
        prop::collection::vec(any::<u8>(), 0..30).prop_map(Sent::Settings),
    ]
}

proptest! {
    #[test]
    fn what_a_client_sends_is_read_back_from_any_chunks(
        frames in prop::collection::vec(sent(), 0..20),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let mut client = Client::new();
        let (mut wire, mut expected) = (Vec::new(), Vec::new());
        for (n, frame) in frames.into_iter().enumerate() {
            let stream = 2 * u32::try_from(n).unwrap() + 1;
            match frame {
                Sent::Open(headers, fin) => {
                    wire.extend(client.open(stream, u8::from(fin), &headers));
                    let headers = Headers::parse(&{
                        let mut plain = Vec::new();
                        plain.put_u32(u32::try_from(headers.len()).unwrap());
                        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
                            plain.put_u32(u32::try_from(text.len()).unwrap());
                            plain.put_slice(text.as_bytes());
                        }
                        plain
                    }).unwrap();
                    expected.push(Frame::Open { stream, headers });
                    if fin {
                        expected.push(Frame::End { stream });
                    }
                }
                Sent::Data(bytes) => {
                    wire.extend(encode::data(stream, &bytes));
                    expected.push(Frame::Data { stream, bytes: bytes.into() });
                }
                Sent::End => {
                    wire.extend(encode::end(stream));
                    expected.push(Frame::End { stream });
                }
                Sent::Reset => {
                    wire.extend(encode::reset(stream, encode::CANCEL));
                    expected.push(Frame::Reset { stream });
                }
                Sent::Ping(id) => {
                    wire.extend(encode::ping(id));
                    expected.push(Frame::Ping { id });
                }
                Sent::Settings(body) => {
                    wire.put_u32(0x8003_0004);
                    wire.put_u32(u32::try_from(body.len()).unwrap());
                    wire.extend(body);
                }
            }
        }
        prop_assert_eq!(decode(&wire, &cuts).unwrap(), expected);
    }

    #[test]
    fn arbitrary_bytes_are_an_error_at_worst(wire in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = decode(&wire, &[]);
    }

    #[test]
    fn an_arbitrary_header_block_is_an_error_at_worst(
        block in prop::collection::vec(any::<u8>(), 0..600),
        packed in any::<bool>(),
    ) {
        let block = if packed { Client::new().compress(&block) } else { block };
        let _ = decode(&raw_open(1, 0, &block), &[]);
    }
}

#[test]
fn headers_are_found_whatever_the_case_of_their_names() {
    let wire = Client::new().open(1, 0, &[pair("streamType", "error"), pair("port", "80")]);
    let frames = decode(&wire, &[]).unwrap();
    let [Frame::Open { stream: 1, headers }] = frames.as_slice() else { panic!("{frames:?}") };
    assert_eq!(headers.get("streamtype"), Some("error"));
    assert_eq!(headers.get("port"), Some("80"));
    assert_eq!(headers.get("requestid"), None);
}

#[test]
fn replies_are_one_zlib_stream_that_names_the_dictionary() {
    let mut blocks = encode::Blocks::default();
    let wire = [blocks.reply(1), blocks.reply(3), blocks.reply(5)].concat();
    let replies = [1, 3, 5].map(|stream| Frame::Reply { stream });
    assert_eq!(decode(&wire, &[]).unwrap(), replies);
    assert_eq!(wire[12..18], [0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2]);
}

#[test]
fn what_is_beyond_the_caps_is_refused() {
    let long = "x".repeat(17 << 10);
    let bomb = Client::new().open(1, 0, &[pair("a", &long)]);
    assert!(bomb.len() < 1000, "it is small on the wire");
    assert_eq!(decode(&bomb, &[]), Err(SpdyError::Headers("a block that is too long")));
    let many: Vec<_> = (0..65).map(|n| pair(&format!("n{n}"), "")).collect();
    let many = Client::new().open(1, 0, &many);
    assert_eq!(decode(&many, &[]), Err(SpdyError::Headers("too many headers")));
    let frame = [0x80, 3, 0, 1, 0, 1, 0, 0];
    assert_eq!(decode(&frame, &[]), Err(SpdyError::TooLong(65536)));
    let version = [0x80, 2, 0, 1, 0, 0, 0, 10];
    assert_eq!(decode(&version, &[]), Err(SpdyError::Version(2)));
    let short = [0x80, 3, 0, 3, 0, 0, 0, 4, 0, 0, 0, 1];
    assert_eq!(decode(&short, &[]), Err(SpdyError::Length(3)));
}

#[test]
fn a_data_frame_of_the_largest_size_passes_through_in_pieces() {
    let (mut decoder, mut buffer) = (Decoder::default(), BytesMut::new());
    buffer.put_u32(1);
    buffer.put_u32(0x01ff_ffff);
    let mut left = 0x00ff_ffff;
    while left > 0 {
        let chunk = left.min(16 << 10);
        buffer.put_bytes(7, chunk);
        let Ok(Some(Frame::Data { stream: 1, bytes })) = decoder.next(&mut buffer) else {
            panic!("no data with {left} bytes left")
        };
        assert_eq!(bytes.len(), chunk);
        left -= chunk;
    }
    assert_eq!(decoder.next(&mut buffer), Ok(Some(Frame::End { stream: 1 })));
}
