// SPDX-License-Identifier: Apache-2.0
//! A session's process, started as the daemon starts it, and a client at its socket. Ports are
//! forwarded to servers of the test's own, so that neither root nor a pod is needed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::HashMap,
    fs::File,
    io::{Seek, Write},
    net::{Ipv4Addr, TcpListener},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{BufMut, BytesMut};
use crisp::sessions::{
    spdy::{Decoder, Frame, dictionary, encode},
    ticket::{Forward, Ticket, TlsFiles, Work},
};
use crisp_words::SandboxId;
use flate2::{Compress, Compression, FlushCompress};
use futures::{SinkExt, StreamExt};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue},
};

const PATH: &str = "/portforward/secret";
const LONG: Duration = Duration::from_secs(60);

/// A running session; killed with the test.
struct Session {
    child: Child,
    port: u16,
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Session {
    fn start(unused: Duration) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_crisp")).arg("session"), unused)
    }

    fn start_by(command: &mut Command, unused: Duration) -> Self {
        Self::start_with(command, unused, None)
    }

    fn start_with(command: &mut Command, unused: Duration, tls: Option<TlsFiles>) -> Self {
        let ticket = Ticket {
            path: PATH.into(),
            cgroup: Vec::new(),
            tls,
            unused,
            stall: LONG,
            work: Work::Forward(Forward {
                pod: SandboxId::new("pod").unwrap(),
                namespace: None,
                addresses: vec![Ipv4Addr::LOCALHOST.into()],
            }),
        };
        let mut file: File = tempfile::tempfile().unwrap();
        file.write_all(&serde_json::to_vec(&ticket).unwrap()).unwrap();
        file.rewind().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let child =
            command.stdin(file).stdout(Stdio::from(OwnedFd::from(listener))).spawn().unwrap();
        Self { child, port }
    }

    /// Whether it ends by itself, and well.
    async fn ends(&mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            sleep(Duration::from_millis(20)).await;
        }
        false
    }

    async fn dial(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    /// Sends a request over HTTP and answers with the head of what comes back.
    async fn ask(&self, path: &str) -> (TcpStream, String) {
        let mut stream = self.dial().await;
        let head = upgrade(&mut stream, path).await;
        (stream, head)
    }
    async fn client(&self) -> Client<TcpStream> {
        let (stream, head) = self.ask(PATH).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        Client::new(stream)
    }
}

/// Sends a request and answers with the head of what comes back.
async fn upgrade(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> String {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
             X-Stream-Protocol-Version: portforward.k8s.io\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(LONG, stream.read_u8()).await.unwrap().unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// The client's side of SPDY.
struct Client<S> {
    stream: S,
    sending: Sending,
    decoder: Decoder,
    buffer: BytesMut,
}

struct Sending {
    zlib: Compress,
    next: u32,
}

impl Sending {
    fn new() -> Self {
        let mut zlib = Compress::new(Compression::default(), true);
        zlib.set_dictionary(dictionary()).unwrap();
        Self { zlib, next: 1 }
    }

    fn open(&mut self, headers: &[(&str, String)]) -> (u32, Vec<u8>) {
        let stream = self.next;
        self.next += 2;
        let mut plain = Vec::new();
        plain.put_u32(u32::try_from(headers.len()).unwrap());
        for text in headers.iter().flat_map(|(name, value)| [*name, value.as_str()]) {
            plain.put_u32(u32::try_from(text.len()).unwrap());
            plain.put_slice(text.as_bytes());
        }
        let mut block = Vec::with_capacity(500);
        self.zlib.compress_vec(&plain, &mut block, FlushCompress::Sync).unwrap();
        let mut frame = Vec::new();
        frame.put_u32(0x8003_0001);
        frame.put_u32(u32::try_from(block.len() + 10).unwrap());
        frame.put_u32(stream);
        frame.put_slice(&[0; 6]);
        frame.put_slice(&block);
        (stream, frame)
    }

    /// Both streams of a connection: the error stream, ended at once, and the data stream.
    fn pair(&mut self, port: u16, request: u32) -> (u32, u32, Vec<u8>) {
        let headers = |kind: &str| {
            [
                ("streamtype", kind.to_owned()),
                ("port", port.to_string()),
                ("requestid", request.to_string()),
            ]
        };
        let (error, mut bytes) = self.open(&headers("error"));
        bytes.extend(encode::end(error));
        let (data, more) = self.open(&headers("data"));
        bytes.extend(more);
        (error, data, bytes)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            sending: Sending::new(),
            decoder: Decoder::default(),
            buffer: BytesMut::new(),
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    async fn next(&mut self) -> Option<Frame> {
        read_frame(&mut self.stream, &mut self.decoder, &mut self.buffer).await
    }

    /// Opens a connection; answers with its error stream and its data stream.
    async fn connect(&mut self, port: u16, request: u32) -> (u32, u32) {
        let (error, data, bytes) = self.sending.pair(port, request);
        self.send(&bytes).await;
        (error, data)
    }
}

async fn read_frame(
    from: &mut (impl AsyncRead + Unpin),
    decoder: &mut Decoder,
    buffer: &mut BytesMut,
) -> Option<Frame> {
    loop {
        if let Some(frame) = decoder.next(buffer).unwrap() {
            return Some(frame);
        }
        buffer.reserve(64 << 10);
        if timeout(LONG, from.read_buf(buffer)).await.expect("no frame came").ok()? == 0 {
            return None;
        }
    }
}

/// A server that sends back what it gets; answers with its port.
async fn echo_server() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            });
        }
    });
    port
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..length.div_ceil(8))
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .take(length)
        .collect()
}

/// Sends `bytes` through one forwarded connection and compares what comes back.
async fn echoes(client: Client<TcpStream>, port: u16, bytes: Vec<u8>) {
    let Client { stream, mut sending, mut decoder, mut buffer } = client;
    let (error, data, opening) = sending.pair(port, 0);
    let (mut from, mut to) = split(stream);
    let digest = Sha256::digest(&bytes);
    let up = tokio::spawn(async move {
        to.write_all(&opening).await.unwrap();
        for chunk in bytes.chunks(32 << 10) {
            to.write_all(&encode::data(data, chunk)).await.unwrap();
        }
        to.write_all(&encode::end(data)).await.unwrap();
        to
    });
    let mut back = Sha256::new();
    let mut ended = Vec::new();
    while ended != [data, error] {
        match read_frame(&mut from, &mut decoder, &mut buffer).await.expect("it broke off") {
            Frame::Data { stream, bytes } if stream == data => back.update(&bytes),
            Frame::End { stream } => ended.push(stream),
            Frame::Reply { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(back.finalize(), digest);
    drop((up.await.unwrap(), from));
}

#[tokio::test]
async fn only_the_right_path_is_let_in_and_only_once() {
    let session = Session::start(LONG);
    for path in ["/portforward/secreT", "/portforward/", "/"] {
        let (_, head) = session.ask(path).await;
        assert!(head.starts_with("HTTP/1.1 404"), "{path}: {head}");
    }
    let first = session.client().await;
    // The listener goes right after the client was let in, not before it is answered.
    let closed = async {
        while TcpStream::connect(("127.0.0.1", session.port)).await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), closed).await.expect("it stops listening");
    drop(first);
}

#[tokio::test]
async fn a_client_that_never_comes_is_not_waited_for() {
    let mut session = Session::start(Duration::from_millis(300));
    // Nor is one that says nothing.
    let _silent = session.dial().await;
    assert!(session.ends(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn a_stream_outlives_whoever_started_the_session() {
    let script = "exec 3<&0; \"$0\" session <&3 3<&- & exec >&- 3<&- 0<&-; wait";
    let mut session = Session::start_by(
        Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_crisp")]),
        LONG,
    );
    let port = echo_server().await;
    let client = session.client().await;
    let stream = tokio::spawn(echoes(client, port, noise(100_000_000)));
    sleep(Duration::from_millis(200)).await;
    session.child.kill().unwrap();
    session.child.wait().unwrap();
    assert!(!stream.is_finished(), "it was over too soon to prove anything");
    stream.await.unwrap();
}

#[tokio::test]
async fn many_connections_share_a_session() {
    let session = Session::start(LONG);
    let port = echo_server().await;
    let mut client = session.client().await;
    let bytes = noise(20_000);
    let mut open = HashMap::new();
    for request in 0..300 {
        let (error, data) = client.connect(port, request).await;
        client.send(&encode::data(data, &bytes)).await;
        client.send(&encode::end(data)).await;
        open.insert(data, Vec::new());
        open.insert(error, Vec::new());
    }
    let mut whole = 0;
    while !open.is_empty() {
        match client.next().await.expect("it broke off") {
            Frame::Data { stream, bytes } => open.get_mut(&stream).unwrap().extend(bytes),
            Frame::End { stream } => {
                let got = open.remove(&stream).unwrap();
                assert!(got.is_empty() || got == bytes, "{} bytes came back", got.len());
                whole += usize::from(!got.is_empty());
            }
            Frame::Reply { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(whole, 300);
}

#[tokio::test]
async fn a_port_without_a_server_is_told_on_the_error_stream() {
    let session = Session::start(LONG);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut client = session.client().await;
    let (error, data) = client.connect(port, 0).await;
    let mut text = Vec::new();
    let mut ended = Vec::new();
    while ended.len() < 2 {
        match client.next().await.unwrap() {
            Frame::Data { stream, bytes } if stream == error => text.extend(bytes),
            Frame::End { stream } => ended.push(stream),
            _ => {}
        }
    }
    assert_eq!(ended, [error, data]);
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains(&format!("port {port}")), "{text}");
    // The session goes on.
    client.send(&encode::ping(7)).await;
    assert_eq!(client.next().await, Some(Frame::Ping { id: 7 }));
}

#[tokio::test]
async fn streams_that_make_no_sense_are_refused_and_do_no_harm() {
    let session = Session::start(LONG);
    let mut client = session.client().await;
    let (stream, bytes) = client.sending.open(&[("streamtype", "stdin".into())]);
    client.send(&bytes).await;
    assert_eq!(client.next().await, Some(Frame::Reset { stream }));
    // Data and ends of streams that do not exist.
    client.send(&encode::data(99, b"x")).await;
    client.send(&encode::end(101)).await;
    client.send(&encode::reset(103, encode::CANCEL)).await;
    client.send(&encode::ping(9)).await;
    assert_eq!(client.next().await, Some(Frame::Ping { id: 9 }));
}

#[tokio::test]
async fn a_client_that_goes_away_in_mid_frame_ends_the_session() {
    let mut session = Session::start(LONG);
    let mut client = session.client().await;
    client.send(&[0x80, 3, 0, 1, 0, 0, 0, 50, 0]).await;
    drop(client);
    assert!(session.ends(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn a_client_that_speaks_no_spdy_ends_the_session() {
    let mut session = Session::start(LONG);
    let mut client = session.client().await;
    client.send(&[0xff; 64]).await;
    assert!(session.ends(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn a_client_that_goes_away_while_its_bytes_wait_is_missed() {
    let mut session = Session::start(LONG);
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = session.client().await;
    let (_, data) = client.connect(silent.local_addr().unwrap().port(), 0).await;
    let frame = encode::data(data, &vec![0; 1 << 20]);
    while timeout(Duration::from_secs(1), client.stream.write_all(&frame)).await.is_ok() {}
    drop(client);
    assert!(session.ends(Duration::from_secs(30)).await);
}

#[tokio::test]
async fn a_certificate_counts_from_the_moment_its_files_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let files = TlsFiles {
        certificate: dir.path().join("certificate.pem"),
        key: dir.path().join("key.pem"),
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_crisp"));
    let session = Session::start_with(command.arg("session"), LONG, Some(files.clone()));

    let mut roots = RootCertStore::empty();
    let certificate = include_bytes!("tls/certificate.pem");
    roots.add(CertificateDer::from_pem_slice(certificate).unwrap()).unwrap();
    let config =
        ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("localhost").unwrap();

    assert!(connector.connect(name.clone(), session.dial().await).await.is_err());
    std::fs::write(&files.certificate, certificate).unwrap();
    std::fs::write(&files.key, include_bytes!("tls/key.pem")).unwrap();
    let mut stream = connector.connect(name, session.dial().await).await.unwrap();
    let head = upgrade(&mut stream, PATH).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    let mut client = Client::new(stream);
    let port = echo_server().await;
    let (error, data) = client.connect(port, 0).await;
    client.send(&encode::data(data, b"over TLS")).await;
    client.send(&encode::end(data)).await;
    let (mut back, mut ended) = (Vec::new(), Vec::new());
    while ended.len() < 2 {
        match client.next().await.unwrap() {
            Frame::Data { stream, bytes } if stream == data => back.extend(bytes),
            Frame::End { stream } => ended.push(stream),
            _ => {}
        }
    }
    assert_eq!((back.as_slice(), ended), (&b"over TLS"[..], vec![data, error]));
}

#[tokio::test]
async fn ports_are_forwarded_through_websockets_too() {
    let session = Session::start(LONG);
    let port = echo_server().await;
    let url = format!("ws://127.0.0.1:{}{PATH}", session.port);
    let mut request = url.into_client_request().unwrap();
    let protocol = "SPDY/3.1+portforward.k8s.io";
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(protocol));
    let (mut socket, answer) = client_async(request, session.dial().await).await.unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], protocol);
    let mut sending = Sending::new();
    let (error, data, mut bytes) = sending.pair(port, 0);
    bytes.extend(encode::data(data, b"through the tunnel"));
    bytes.extend(encode::end(data));
    // Where messages are cut does not matter.
    for chunk in bytes.chunks(5) {
        socket.send(Message::Binary(chunk.to_vec().into())).await.unwrap();
    }
    let (mut decoder, mut buffer) = (Decoder::default(), BytesMut::new());
    let (mut back, mut ended) = (Vec::new(), Vec::new());
    while ended.len() < 2 {
        match timeout(LONG, socket.next()).await.unwrap().unwrap().unwrap() {
            Message::Binary(bytes) => buffer.extend_from_slice(&bytes),
            other => panic!("{other:?}"),
        }
        while let Some(frame) = decoder.next(&mut buffer).unwrap() {
            match frame {
                Frame::Data { stream, bytes } if stream == data => back.extend(bytes),
                Frame::End { stream } => ended.push(stream),
                _ => {}
            }
        }
    }
    assert_eq!((back.as_slice(), ended), (&b"through the tunnel"[..], vec![data, error]));
    // Taking leave properly ends it.
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    let mut session = session;
    assert!(session.ends(Duration::from_secs(10)).await);
}
