// SPDX-License-Identifier: Apache-2.0
//! The connection to one plugin: the runtime's calls with their deadlines go out on it, the
//! plugin's calls come in.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use protobuf::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use ttrpc::Code;

use super::{
    error::NriError,
    frame::{self, Frame, Joiner, Kind, PIECE_HEAD, PLUGIN_CONNECTION, RUNTIME_CONNECTION},
};

/// Frames that wait to be written. A plugin that leaves more of them unread is dropped.
const QUEUE: usize = 256;
/// Calls of the plugin that wait to be carried out; the rest waits in its socket.
const INCOMING: usize = 8;

/// A connection. Clones share it.
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Why the connection ended, once it has.
    closed: watch::Sender<Option<String>>,
}

struct State {
    /// Taken together with the place in the queue: Go refuses ids that do not rise.
    next_stream: u32,
    outgoing: mpsc::Sender<Vec<u8>>,
    pending: HashMap<u32, oneshot::Sender<ttrpc::Response>>,
}

/// A call of the plugin.
#[derive(Debug)]
pub struct Incoming {
    /// `Service/Method`.
    pub method: String,
    /// The request, encoded.
    pub payload: Vec<u8>,
    stream: u32,
}

impl Connection {
    /// Takes over `stream`; the plugin's calls arrive at the receiver.
    pub fn open(stream: UnixStream) -> (Self, mpsc::Receiver<Incoming>) {
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let (calls, incoming) = mpsc::channel(INCOMING);
        let state = State { next_stream: 1, outgoing, pending: HashMap::new() };
        let (closed, _) = watch::channel(None);
        let connection = Self(Arc::new(Inner { state: Mutex::new(state), closed }));
        let (read, write) = stream.into_split();
        tokio::spawn(connection.clone().until_closed(write_all(write, queue)));
        let reader = read_all(read, connection.clone(), calls);
        tokio::spawn(connection.clone().until_closed(reader));
        (connection, incoming)
    }

    async fn until_closed(self, work: impl Future<Output = String>) {
        let cause = tokio::select! {
            cause = work => cause,
            _ = self.closed() => return,
        };
        self.close(&cause);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change of the state is one step: it is whole whoever panicked.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connection; calls in flight learn of it.
    pub fn close(&self, cause: &str) {
        self.0.closed.send_if_modified(|closed| {
            let first = closed.is_none();
            if first {
                *closed = Some(cause.to_owned());
            }
            first
        });
        self.state().pending.clear();
    }

    /// Resolves with the cause once the connection has ended.
    pub async fn closed(&self) -> String {
        let mut closed = self.0.closed.subscribe();
        match closed.wait_for(Option::is_some).await {
            Ok(cause) => cause.clone().unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// Whether the connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.closed.borrow().is_some()
    }

    fn cause(&self) -> String {
        self.0.closed.borrow().clone().unwrap_or_else(|| "it closed its connection".into())
    }

    /// Calls the plugin and waits for its answer, at most for `limit`.
    ///
    /// # Errors
    /// [`NriError`], naming `plugin`.
    pub async fn call<A: Message>(
        &self,
        plugin: &str,
        call: &'static str,
        request: &impl Message,
        limit: Duration,
    ) -> Result<A, NriError> {
        let plugin = || plugin.to_owned();
        let malformed = |cause: String| NriError::Malformed { plugin: plugin(), call, cause };
        let frame = request_frame(call, request, limit).map_err(|e| malformed(e.to_string()))?;
        let (stream, answer) = self.send(frame, &plugin())?;
        let answer = timeout(limit, answer).await;
        self.state().pending.remove(&stream);
        let response = answer
            .map_err(|_| NriError::Deadline { plugin: plugin(), call, after: limit })?
            .map_err(|_| NriError::Gone { plugin: plugin(), cause: self.cause() })?;
        let status = response.status.get_or_default();
        match status.code() {
            Code::OK => {
                A::parse_from_bytes(&response.payload).map_err(|e| malformed(e.to_string()))
            }
            Code::UNIMPLEMENTED => Err(NriError::Unknown { plugin: plugin(), call }),
            _ => Err(NriError::Refused {
                plugin: plugin(),
                call,
                message: status.message().to_owned(),
            }),
        }
    }

    fn send(
        &self,
        mut frame: Frame,
        plugin: &str,
    ) -> Result<(u32, oneshot::Receiver<ttrpc::Response>), NriError> {
        let gone = |cause: String| NriError::Gone { plugin: plugin.to_owned(), cause };
        if self.is_closed() {
            return Err(gone(self.cause()));
        }
        let mut state = self.state();
        let stream = state.next_stream;
        frame.stream = stream;
        let bytes = frame
            .encode(PLUGIN_CONNECTION)
            .map_err(|source| NriError::TooLong { plugin: plugin.to_owned(), source })?;
        if state.outgoing.try_send(bytes).is_err() {
            drop(state);
            self.close("it does not read what it is sent");
            return Err(gone(self.cause()));
        }
        // A client's streams are odd.
        state.next_stream = stream.wrapping_add(2);
        let (tell, answer) = oneshot::channel();
        state.pending.insert(stream, tell);
        Ok((stream, answer))
    }

    /// Answers a call of the plugin.
    pub fn answer(&self, call: &Incoming, answer: Result<Vec<u8>, ttrpc::Status>) {
        let mut response = ttrpc::Response::new();
        match answer {
            Ok(payload) => {
                response.set_status(ttrpc::get_status(Code::OK, ""));
                response.payload = payload;
            }
            Err(status) => response.set_status(status),
        }
        let frame = |payload| Frame { stream: call.stream, kind: Kind::Response, payload };
        let sent = response
            .write_to_bytes()
            .map_err(|e| e.to_string())
            .and_then(|bytes| frame(bytes).encode(RUNTIME_CONNECTION).map_err(|e| e.to_string()))
            .and_then(|bytes| self.state().outgoing.try_send(bytes).map_err(|e| e.to_string()));
        if let Err(error) = sent {
            self.close(&format!("an answer could not be sent to it: {error}"));
        }
    }

    fn take(&self, frame: &Frame) -> Result<Option<Incoming>, String> {
        match frame.kind {
            Kind::Response => {
                let response = ttrpc::Response::parse_from_bytes(&frame.payload)
                    .map_err(|e| format!("its response cannot be read: {e}"))?;
                // Nobody may wait for it any more.
                if let Some(tell) = self.state().pending.remove(&frame.stream) {
                    let _ = tell.send(response);
                }
                Ok(None)
            }
            Kind::Request => {
                let request = ttrpc::Request::parse_from_bytes(&frame.payload)
                    .map_err(|e| format!("its request cannot be read: {e}"))?;
                let method = format!("{}/{}", request.service, request.method);
                Ok(Some(Incoming { method, payload: request.payload, stream: frame.stream }))
            }
            Kind::Other(kind) => Err(format!("it sent a frame of unknown kind {kind}")),
        }
    }
}

fn request_frame(
    call: &str,
    request: &impl Message,
    limit: Duration,
) -> Result<Frame, protobuf::Error> {
    let mut wire = ttrpc::Request::new();
    wire.service = crisp_nri::PLUGIN.to_owned();
    wire.method = call.to_owned();
    wire.payload = request.write_to_bytes()?;
    wire.timeout_nano = i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX);
    Ok(Frame { stream: 0, kind: Kind::Request, payload: wire.write_to_bytes()? })
}

fn broken(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset => "it closed its connection".to_owned(),
        _ => format!("its connection broke: {error}"),
    }
}

async fn write_all(mut socket: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>) -> String {
    while let Some(bytes) = queue.recv().await {
        if let Err(error) = socket.write_all(&bytes).await {
            return broken(&error);
        }
    }
    "nobody calls it any more".into()
}

async fn read_all(
    mut socket: OwnedReadHalf,
    connection: Connection,
    calls: mpsc::Sender<Incoming>,
) -> String {
    let mut joiner = Joiner::default();
    loop {
        match read_piece(&mut socket, &mut joiner).await {
            Ok(frames) => {
                for frame in frames {
                    match connection.take(&frame) {
                        Ok(None) => {}
                        Ok(Some(call)) => {
                            if calls.send(call).await.is_err() {
                                return "nobody hears it any more".into();
                            }
                        }
                        Err(cause) => return cause,
                    }
                }
            }
            Err(cause) => return cause,
        }
    }
}

async fn read_piece(socket: &mut OwnedReadHalf, joiner: &mut Joiner) -> Result<Vec<Frame>, String> {
    let mut head = [0; PIECE_HEAD];
    socket.read_exact(&mut head).await.map_err(|e| broken(&e))?;
    let (connection, length) = frame::piece(head).map_err(|e| format!("it sent {e}"))?;
    let mut bytes = vec![0; length];
    socket.read_exact(&mut bytes).await.map_err(|e| broken(&e))?;
    joiner.take(connection, &bytes).map_err(|e| format!("it sent {e}"))
}

#[cfg(test)]
mod tests {
    use crisp_nri::{ConfigureRequest, ConfigureResponse};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// The plugin's end of a connection, as bytes.
    struct Peer {
        socket: UnixStream,
        joiner: Joiner,
    }

    impl Peer {
        fn pair() -> (Connection, mpsc::Receiver<Incoming>, Self) {
            let (ours, socket) = UnixStream::pair().unwrap();
            let (connection, incoming) = Connection::open(ours);
            (connection, incoming, Self { socket, joiner: Joiner::default() })
        }

        async fn frame(&mut self) -> Frame {
            loop {
                let mut head = [0; PIECE_HEAD];
                self.socket.read_exact(&mut head).await.unwrap();
                let (connection, length) = frame::piece(head).unwrap();
                let mut bytes = vec![0; length];
                self.socket.read_exact(&mut bytes).await.unwrap();
                if let Some(frame) = self.joiner.take(connection, &bytes).unwrap().pop() {
                    return frame;
                }
            }
        }

        async fn respond(&mut self, stream: u32, code: Code, message: &str, events: i32) {
            let mut body = ConfigureResponse::new();
            body.events = events;
            let mut response = ttrpc::Response::new();
            response.set_status(ttrpc::get_status(code, message));
            response.payload = body.write_to_bytes().unwrap();
            let payload = response.write_to_bytes().unwrap();
            let frame = Frame { stream, kind: Kind::Response, payload };
            self.socket.write_all(&frame.encode(PLUGIN_CONNECTION).unwrap()).await.unwrap();
        }
    }

    async fn configure(connection: &Connection, limit: Duration) -> Result<i32, NriError> {
        let request = ConfigureRequest::new();
        let answer: ConfigureResponse =
            connection.call("00-x", "Configure", &request, limit).await?;
        Ok(answer.events)
    }

    #[tokio::test]
    async fn answers_find_their_calls_in_any_order() {
        let (connection, _incoming, mut peer) = Peer::pair();
        let other = connection.clone();
        let one = tokio::spawn(async move { configure(&other, SOON).await.unwrap() });
        let first = peer.frame().await.stream;
        let other = connection.clone();
        let two = tokio::spawn(async move { configure(&other, SOON).await.unwrap() });
        let second = peer.frame().await.stream;
        assert_eq!((first, second), (1, 3));
        peer.respond(second, Code::OK, "", 2).await;
        peer.respond(first, Code::OK, "", 1).await;
        assert_eq!((one.await.unwrap(), two.await.unwrap()), (1, 2));
    }

    #[tokio::test]
    async fn a_plugins_no_is_told_from_its_silence_and_its_end() {
        let (connection, _incoming, mut peer) = Peer::pair();
        let (answer, ()) = tokio::join!(configure(&connection, SOON), async {
            let stream = peer.frame().await.stream;
            peer.respond(stream, Code::UNKNOWN, "not today", 0).await;
        });
        let error = answer.unwrap_err();
        assert_eq!(error.to_string(), "NRI plugin 00-x refused Configure: not today");
        assert!(!error.is_fatal());

        let error = configure(&connection, Duration::from_millis(10)).await.unwrap_err();
        assert!(matches!(error, NriError::Deadline { .. }) && error.is_fatal(), "{error}");

        let (answer, ()) = tokio::join!(configure(&connection, SOON), async { drop(peer) });
        let error = answer.unwrap_err();
        assert!(matches!(error, NriError::Gone { .. }) && error.is_fatal(), "{error}");
        assert_eq!(connection.closed().await, "it closed its connection");
    }

    #[tokio::test]
    async fn nonsense_closes_the_connection() {
        let (connection, _incoming, mut peer) = Peer::pair();
        peer.socket.write_all(&[0, 0, 0, 1, 0xff, 0, 0, 0]).await.unwrap();
        assert!(connection.closed().await.contains("piece of"));
    }

    #[tokio::test]
    async fn the_plugins_calls_arrive_and_are_answered() {
        let (connection, mut incoming, mut peer) = Peer::pair();
        let mut request = ttrpc::Request::new();
        request.service = "s".into();
        request.method = "M".into();
        let payload = request.write_to_bytes().unwrap();
        let frame = Frame { stream: 1, kind: Kind::Request, payload };
        peer.socket.write_all(&frame.encode(RUNTIME_CONNECTION).unwrap()).await.unwrap();
        let call = incoming.recv().await.unwrap();
        assert_eq!(call.method, "s/M");
        connection.answer(&call, Err(ttrpc::get_status(Code::NOT_FOUND, "no M")));
        let answer = ttrpc::Response::parse_from_bytes(&peer.frame().await.payload).unwrap();
        assert_eq!(answer.status.message(), "no M");
    }
}
