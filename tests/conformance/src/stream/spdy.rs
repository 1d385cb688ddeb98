// SPDX-License-Identifier: Apache-2.0
//! SPDY/3.1 as a client of the kubelet's kind speaks it. Header blocks are sent uncompressed
//! within zlib's format; those of answers are not looked at.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::BufMut as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Event, LIMIT, Streams, dial};

const FIN: u8 = 1;
/// Adler-32 of the SPDY/3 dictionary, which the first block must name.
const DICTIONARY: u32 = 0xe3c6_a7c2;

/// The connection below streams.
struct Connection {
    stream: TcpStream,
    next: u32,
}

/// What came.
enum Frame {
    Reply(u32),
    Reset(u32),
    /// Bytes of a stream, and whether it ends.
    Data(u32, Vec<u8>, bool),
    Other,
    /// The connection's end.
    Closed,
}

/// Sends a request to switch to SPDY; answers with the head of the response.
async fn upgrade(url: &str, protocols: &[&str]) -> Result<(TcpStream, String)> {
    let (mut stream, host, path) = dial(url).await?;
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
         Content-Length: 0\r\n"
    );
    for protocol in protocols {
        request.push_str(&format!("X-Stream-Protocol-Version: {protocol}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = timeout(LIMIT, stream.read_u8()).await.context("no answer to the upgrade")?;
        head.push(byte.context("the server closed the connection instead of an answer")?);
    }
    Ok((stream, String::from_utf8_lossy(&head).into_owned()))
}

/// The HTTP status of an upgrade of `url`.
pub async fn upgrade_status(url: &str) -> Result<u16> {
    let (_, head) = upgrade(url, &["v4.channel.k8s.io"]).await?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.with_context(|| format!("no HTTP status in {head:?}"))
}

impl Connection {
    async fn open(url: &str, protocols: &[&str]) -> Result<Self> {
        let (stream, head) = upgrade(url, protocols).await?;
        ensure!(head.starts_with("HTTP/1.1 101 "), "upgrade of {url}: came {head:?}");
        let chosen =
            head.lines().filter_map(|line| line.split_once(": ")).find_map(|(name, value)| {
                name.eq_ignore_ascii_case("x-stream-protocol-version").then_some(value)
            });
        let known = chosen.is_some_and(|chosen| protocols.contains(&chosen));
        ensure!(known, "upgrade of {url}: expected one of {protocols:?}, came {chosen:?}");
        Ok(Self { stream, next: 1 })
    }

    /// Opens a stream and waits until it is accepted.
    async fn open_stream(&mut self, headers: &[(&str, &str)]) -> Result<u32> {
        let mut plain = Vec::new();
        plain.put_u32(u32::try_from(headers.len())?);
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.put_u32(u32::try_from(text.len())?);
            plain.put_slice(text.as_bytes());
        }
        let stream = self.next;
        let mut body = Vec::new();
        body.put_u32(stream);
        body.put_slice(&[0; 6]);
        if stream == 1 {
            body.put_u16(0x78bb);
            body.put_u32(DICTIONARY);
        }
        let length = u16::try_from(plain.len())?;
        body.put_u8(0);
        body.put_u16_le(length);
        body.put_u16_le(!length);
        body.put_slice(&plain);
        body.put_slice(&[0, 0, 0, 0xff, 0xff]);
        self.next += 2;
        self.control(1, &body).await?;
        loop {
            match self.read().await? {
                Frame::Reply(id) if id == stream => return Ok(stream),
                Frame::Reset(id) if id == stream => bail!("stream {headers:?} was refused"),
                Frame::Closed => bail!("the connection ended instead of an answer to {headers:?}"),
                _ => {}
            }
        }
    }

    async fn control(&mut self, kind: u16, body: &[u8]) -> Result<()> {
        let mut frame = Vec::new();
        frame.put_u16(0x8003);
        frame.put_u16(kind);
        frame.put_u32(u32::try_from(body.len())?);
        frame.put_slice(body);
        Ok(self.stream.write_all(&frame).await?)
    }

    async fn data(&mut self, stream: u32, bytes: &[u8], flags: u8) -> Result<()> {
        let mut frame = Vec::new();
        frame.put_u32(stream);
        frame.put_u32(u32::from(flags) << 24 | u32::try_from(bytes.len())?);
        frame.put_slice(bytes);
        Ok(self.stream.write_all(&frame).await?)
    }

    async fn read(&mut self) -> Result<Frame> {
        let mut head = [0; 8];
        if self.stream.read_exact(&mut head).await.is_err() {
            return Ok(Frame::Closed);
        }
        let [a, b, c, d, flags, length @ ..] = head;
        let [e, f, g] = length;
        let mut body = vec![0; usize::try_from(u32::from_be_bytes([0, e, f, g]))?];
        self.stream.read_exact(&mut body).await.context("a frame is cut off")?;
        let first = u32::from_be_bytes([a, b, c, d]);
        if first >> 31 == 0 {
            return Ok(Frame::Data(first, body, flags & FIN != 0));
        }
        let id = || body.first_chunk::<4>().map(|id| u32::from_be_bytes(*id)).unwrap_or_default();
        Ok(match first & 0xffff {
            2 => Frame::Reply(id()),
            3 => Frame::Reset(id()),
            // A ping of the server's.
            6 if id() % 2 == 0 => {
                self.control(6, &body).await?;
                Frame::Other
            }
            _ => Frame::Other,
        })
    }
}

/// A client of an exec or an attach.
pub struct Session {
    connection: Connection,
    ids: BTreeMap<&'static str, u32>,
    open: Vec<u32>,
    /// Whether anything came on the error stream.
    told: bool,
}

impl Session {
    pub(super) async fn open(url: &str, streams: Streams) -> Result<Self> {
        let protocols = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
        let mut connection = Connection::open(url, &protocols).await?;
        let wanted = [
            ("error", true),
            ("stdin", streams.stdin),
            ("stdout", streams.stdout),
            ("stderr", streams.stderr),
            ("resize", streams.tty),
        ];
        let mut ids = BTreeMap::new();
        for (name, _) in wanted.into_iter().filter(|(_, wanted)| *wanted) {
            ids.insert(name, connection.open_stream(&[("streamtype", name)]).await?);
        }
        let open = ["error", "stdout", "stderr"].iter().filter_map(|n| ids.get(n).copied());
        Ok(Self { open: open.collect(), connection, ids, told: false })
    }

    fn id(&self, name: &str) -> Result<u32> {
        self.ids.get(name).copied().with_context(|| format!("stream {name} was not asked for"))
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.connection.data(self.id("stdin")?, bytes, 0).await
    }

    pub(super) async fn end_stdin(&mut self) -> Result<()> {
        self.connection.data(self.id("stdin")?, &[], FIN).await
    }

    pub(super) async fn resize(&mut self, size: &[u8]) -> Result<()> {
        self.connection.data(self.id("resize")?, size, 0).await
    }

    pub(super) async fn next(&mut self) -> Result<Event> {
        while !self.open.is_empty() {
            let (id, bytes, ends) = match self.connection.read().await? {
                Frame::Data(id, bytes, ends) => (id, bytes, ends),
                Frame::Reset(id) => {
                    self.open.retain(|open| *open != id);
                    continue;
                }
                // Some servers end all streams so once they have told the outcome.
                Frame::Closed if self.told => return Ok(Event::End),
                Frame::Closed => bail!("the connection broke before an outcome was told"),
                _ => continue,
            };
            if ends {
                self.open.retain(|open| *open != id);
            }
            let is = |name: &str| self.ids.get(name) == Some(&id);
            match bytes {
                bytes if bytes.is_empty() => {}
                bytes if is("stdout") => return Ok(Event::Stdout(bytes)),
                bytes if is("stderr") => return Ok(Event::Stderr(bytes)),
                bytes if is("error") => {
                    self.told = true;
                    return Ok(Event::Error(bytes));
                }
                bytes => bail!("{} bytes came on stream {id}", bytes.len()),
            }
        }
        Ok(Event::End)
    }
}

/// A client of a port-forward.
pub struct Forwarding {
    connection: Connection,
    requests: u32,
}

impl Forwarding {
    /// Connects to `url`.
    pub async fn open(url: &str) -> Result<Self> {
        let connection = Connection::open(url, &["portforward.k8s.io"]).await?;
        Ok(Self { connection, requests: 0 })
    }

    /// Sends `bytes` to a port and answers with what its server says until it closes, or with
    /// what is said on the error stream.
    pub async fn exchange(&mut self, port: u16, bytes: &[u8]) -> Result<Result<Vec<u8>, String>> {
        let exchanged = self.exchange_slowly(port, bytes);
        timeout(LIMIT, exchanged).await.context("nothing came through the forwarded port")?
    }

    async fn exchange_slowly(
        &mut self,
        port: u16,
        bytes: &[u8],
    ) -> Result<Result<Vec<u8>, String>> {
        let (port, request) = (port.to_string(), self.requests.to_string());
        self.requests += 1;
        let headers = |kind: &'static str| {
            [("streamtype", kind), ("port", port.as_str()), ("requestid", request.as_str())]
        };
        let error = self.connection.open_stream(&headers("error")).await?;
        self.connection.data(error, &[], FIN).await?;
        let data = self.connection.open_stream(&headers("data")).await?;
        self.connection.data(data, bytes, 0).await?;
        self.connection.data(data, &[], FIN).await?;
        let (mut answer, mut complaint, mut open) = (Vec::new(), Vec::new(), vec![error, data]);
        while !open.is_empty() {
            match self.connection.read().await? {
                Frame::Data(id, bytes, ends) => {
                    open.retain(|open| !(ends && *open == id));
                    if id == data { answer.extend(bytes) } else { complaint.extend(bytes) }
                }
                Frame::Reset(id) => open.retain(|open| *open != id),
                Frame::Closed => bail!("the connection broke"),
                _ => {}
            }
        }
        if complaint.is_empty() {
            return Ok(Ok(answer));
        }
        Ok(Err(String::from_utf8_lossy(&complaint).into_owned()))
    }
}
