// SPDX-License-Identifier: Apache-2.0
//! Connects a client to ports of a pod, many connections at once over one SPDY connection. The
//! process is by now in the network namespace from which the pod is reached.

use std::{collections::HashMap, io, net::IpAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, split},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::timeout,
};

use super::{
    door::Admitted,
    handshake::Speech,
    outbox::{Gone, Outbox},
    pairs::{Opened, Pair, Pairs},
    wire::{Line, Tunnel, Wire},
};
use crate::sessions::{
    spdy::{Frame, Reader, StreamId, encode},
    ticket::Forward,
};

/// Most connections at once.
const CONNECTIONS: usize = 512;
/// Pieces of at most 16 KiB that wait for one connection's server.
const WAITING: usize = 4;
/// Bytes read at once.
const CHUNK: usize = 32 << 10;
/// How long a connection to the pod may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How often a client is looked for whose bytes are not taken.
const LOOK: Duration = Duration::from_secs(5);
/// How long a client may be silent towards a server that has said all. Not every client ends its
/// stream.
const LINGER: Duration = Duration::from_secs(60);
/// How long what is left may take to be sent.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves one client until it has gone.
pub(super) async fn serve(
    work: &Forward,
    stall: Duration,
    admitted: Admitted,
    stop: impl Future<Output = ()>,
) {
    let Admitted { wire, line, speech } = admitted;
    let wire = match speech {
        Speech::Tunnel => Box::new(Tunnel::open(wire).await),
        Speech::Spdy(_) | Speech::Channels(_) => wire,
    };
    let (reader, writer) = split(wire);
    let (outbox, writer) = Outbox::bytes(writer, stall);
    let mut session = Session {
        reader: Reader::new(reader),
        outbox,
        line,
        blocks: encode::Blocks::default(),
        pairs: Pairs::default(),
        connections: HashMap::new(),
        carriers: JoinSet::new(),
        addresses: work.addresses.as_slice().into(),
    };
    tokio::select! {
        // A client that breaks the protocol is gone like any other.
        _ = session.run() => {}
        () = stop => {}
    }
    session.carriers.shutdown().await;
    drop(session);
    let _ = timeout(FAREWELL, writer).await;
}

struct Session {
    reader: Reader<ReadHalf<Wire>>,
    outbox: Outbox,
    line: Line,
    blocks: encode::Blocks,
    pairs: Pairs,
    /// By data stream.
    connections: HashMap<StreamId, Connection>,
    carriers: JoinSet<StreamId>,
    addresses: Arc<[IpAddr]>,
}

struct Connection {
    /// Dropped when the client has said all.
    to: Option<mpsc::Sender<Bytes>>,
    carrier: AbortHandle,
}

impl Session {
    async fn run(&mut self) -> io::Result<()> {
        let mut leaving = false;
        loop {
            if leaving && self.connections.is_empty() {
                return Ok(());
            }
            let frame = tokio::select! {
                frame = self.reader.next() => frame?,
                Some(done) = self.carriers.join_next() => {
                    if let Ok(stream) = done {
                        self.connections.remove(&stream);
                    }
                    continue;
                }
            };
            let Some(frame) = frame else { return Ok(()) };
            leaving |= frame == Frame::GoAway;
            if self.take(frame).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<(), Gone> {
        match frame {
            Frame::Open { stream, headers } => {
                let opened = match self.pairs.open(stream, &headers) {
                    Opened::Pair(_) if self.connections.len() >= CONNECTIONS => Opened::Refused,
                    opened => opened,
                };
                match opened {
                    Opened::Refused => {
                        let reset = encode::reset(stream, encode::REFUSED_STREAM);
                        self.outbox.send(reset).await?;
                    }
                    Opened::Half => self.outbox.send(self.blocks.reply(stream)).await?,
                    Opened::Pair(pair) => {
                        self.outbox.send(self.blocks.reply(stream)).await?;
                        self.connect(pair);
                    }
                }
            }
            Frame::Data { stream, bytes } => return self.hand_on(stream, bytes).await,
            Frame::End { stream } => {
                if let Some(connection) = self.connections.get_mut(&stream) {
                    connection.to = None;
                }
            }
            Frame::Reset { stream } => {
                self.pairs.give_up(stream);
                if let Some(connection) = self.connections.remove(&stream) {
                    connection.carrier.abort();
                }
            }
            Frame::Ping { id } if id % 2 == 1 => self.outbox.send(encode::ping(id)).await?,
            Frame::Ping { .. } | Frame::Reply { .. } | Frame::GoAway => {}
        }
        Ok(())
    }

    fn connect(&mut self, pair: Pair) {
        let (to, from) = mpsc::channel(WAITING);
        let (outbox, addresses) = (self.outbox.clone(), self.addresses.clone());
        let carrier = self.carriers.spawn(async move {
            // Without a client there is nobody to tell.
            let _ = carry(pair, &addresses, from, &outbox).await;
            pair.data
        });
        self.connections.insert(pair.data, Connection { to: Some(to), carrier });
    }

    /// Waits for a server that is slow: SPDY as clients speak it has no other brake.
    async fn hand_on(&self, stream: StreamId, bytes: Bytes) -> Result<(), Gone> {
        let to = self.connections.get(&stream).and_then(|connection| connection.to.as_ref());
        let Some(to) = to else { return Ok(()) };
        loop {
            match timeout(LOOK, to.reserve()).await {
                Ok(Ok(place)) => {
                    place.send(bytes);
                    return Ok(());
                }
                // The connection has ended meanwhile.
                Ok(Err(_)) => return Ok(()),
                Err(_) if self.line.is_closed() => return Err(Gone),
                Err(_) => self.outbox.keep_alive(),
            }
        }
    }
}

/// Carries one connection to its end.
async fn carry(
    pair: Pair,
    addresses: &[IpAddr],
    from: mpsc::Receiver<Bytes>,
    outbox: &Outbox,
) -> Result<(), Gone> {
    match connect(addresses, pair.port).await {
        Ok(server) => {
            let (reader, writer) = server.into_split();
            let (ended, lingers) = tokio::sync::oneshot::channel();
            let (down, ()) = tokio::join!(
                async {
                    let down = send_down(pair, reader, outbox).await;
                    drop(ended);
                    down
                },
                send_up(from, writer, lingers)
            );
            down
        }
        Err(error) => {
            outbox.send(encode::data(pair.error, error.to_string().as_bytes())).await?;
            outbox.send(encode::end(pair.error)).await?;
            outbox.send(encode::end(pair.data)).await
        }
    }
}

async fn connect(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let mut failed = None;
    for address in addresses {
        let connected = match timeout(CONNECT, TcpStream::connect((*address, port))).await {
            Ok(connected) => connected,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        match connected {
            Ok(server) => return Ok(server),
            Err(error) => {
                // What the first address says is what people expect to read.
                failed.get_or_insert(error);
            }
        }
    }
    let cause = failed.map_or_else(String::new, |error| format!(": {error}"));
    Err(io::Error::other(format!("cannot connect to port {port} in the pod{cause}")))
}

/// From the server to the client.
async fn send_down(pair: Pair, mut reader: OwnedReadHalf, outbox: &Outbox) -> Result<(), Gone> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        match reader.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(_) => outbox.send(encode::data(pair.data, &buffer.split())).await?,
        }
    }
    outbox.send(encode::end(pair.data)).await?;
    outbox.send(encode::end(pair.error)).await
}

/// From the client to the server, until either has enough.
async fn send_up(
    mut from: mpsc::Receiver<Bytes>,
    mut writer: OwnedWriteHalf,
    mut server_ended: tokio::sync::oneshot::Receiver<()>,
) {
    let mut listening = true;
    loop {
        let next = if listening {
            tokio::select! {
                next = from.recv() => next,
                _ = &mut server_ended => {
                    listening = false;
                    continue;
                }
            }
        } else {
            timeout(LINGER, from.recv()).await.ok().flatten()
        };
        match next {
            Some(bytes) if writer.write_all(&bytes).await.is_ok() => {}
            _ => break,
        }
    }
    // A server that is gone needs no goodbye.
    let _ = writer.shutdown().await;
}
