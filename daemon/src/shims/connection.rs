// SPDX-License-Identifier: Apache-2.0

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use protobuf::Message;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
    sync::{Semaphore, watch},
    time::{Instant, timeout_at},
};
use ttrpc::{
    Code,
    asynchronous::{Client, transport::Socket},
};

use super::ShimError;

/// Calls in flight on one connection. ttrpc queues up to 100 frames in order; a call that finds
/// the queue full could be overtaken by a later one.
const IN_FLIGHT: usize = 90;
/// How much longer than its caller the frame of a call may live. A deadline that strikes while a
/// frame is being written closes the connection under all other calls, so it must be the rarer
/// end of the two.
const SLACK: Duration = Duration::from_secs(5);
/// How often a call is repeated that a Go server turned away for the order of its stream id; such
/// a call was never carried out.
const REORDER_TRIES: u32 = 5;

/// One connection to a shim. Clones share it.
#[derive(Clone)]
pub(super) struct Connection(Arc<Inner>);

struct Inner {
    shim: String,
    namespace: String,
    client: Client,
    /// Held while a call takes its stream id and enters the queue. A Go server refuses an id
    /// that is not higher than all before it, and ttrpc takes the id before it queues.
    order: Mutex<()>,
    in_flight: Arc<Semaphore>,
    closed: watch::Receiver<bool>,
    /// Calls that were refused for their order and sent again.
    reordered: AtomicU64,
}

/// A method of a service, and the frame's payload.
pub(super) struct Call<'a, M> {
    pub(super) service: &'a str,
    pub(super) method: &'a str,
    pub(super) request: &'a M,
}

impl Connection {
    /// Connects to `address`: `unix:///path`, a bare name (an abstract socket) or a bare path.
    pub(super) async fn open(
        address: &str,
        namespace: &str,
        deadline: Duration,
    ) -> Result<Self, ShimError> {
        let dead = |text: String| ShimError::Dead {
            shim: address.to_owned(),
            call: "connect".to_owned(),
            text,
        };
        let stream = tokio::time::timeout(deadline, connect(address))
            .await
            .map_err(|_| ShimError::Deadline {
                shim: address.to_owned(),
                call: "connect".to_owned(),
                after: deadline,
            })?
            .map_err(|e| dead(e.to_string()))?;
        let (tell, closed) = watch::channel(false);
        let socket = Socket::new(Watched { stream, tell });
        Ok(Self(Arc::new(Inner {
            shim: address.to_owned(),
            namespace: namespace.to_owned(),
            client: Client::new(socket),
            order: Mutex::new(()),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
            closed,
            reordered: AtomicU64::new(0),
        })))
    }

    /// Sends `call` and waits for the answer, at most for `deadline`.
    ///
    /// The exchange runs in a task of its own: a caller that goes away, or whose deadline
    /// strikes, never tears a frame and never takes the connection down.
    pub(super) async fn call<M: Message, A: Message>(
        &self,
        call: Call<'_, M>,
        deadline: Duration,
    ) -> Result<A, ShimError> {
        let until = Instant::now() + deadline;
        let name = call.method.to_owned();
        let late = || ShimError::Deadline {
            shim: self.0.shim.clone(),
            call: name.clone(),
            after: deadline,
        };
        let permit = timeout_at(until, self.0.in_flight.clone().acquire_owned())
            .await
            .map_err(|_| late())?
            .map_err(|e| ShimError::malformed(&self.0.shim, &name, e))?;
        let frame = self.frame(&call, Some(deadline + SLACK))?;
        let connection = self.clone();
        let exchange = tokio::spawn(async move {
            let answer = connection.exchange(frame).await;
            drop(permit);
            answer
        });
        let answer = timeout_at(until, exchange).await.map_err(|_| late())?;
        self.unpack(&name, answer)
    }

    /// Sends `call` and waits for the answer as long as the connection lives. For `Wait`, on a
    /// connection that carries nothing else.
    pub(super) async fn call_and_wait<M: Message, A: Message>(
        &self,
        call: Call<'_, M>,
    ) -> Result<A, ShimError> {
        let frame = self.frame(&call, None)?;
        let connection = self.clone();
        let answer = tokio::spawn(async move { connection.exchange(frame).await }).await;
        self.unpack(call.method, answer)
    }

    /// Resolves once the shim has closed the connection, at once if it already has.
    pub(super) async fn closed(&self) {
        let mut closed = self.0.closed.clone();
        // The sender is dropped together with the socket, which means the same.
        let _ = closed.wait_for(|closed| *closed).await;
    }

    pub(super) fn is_closed(&self) -> bool {
        *self.0.closed.borrow() || self.0.closed.has_changed().is_err()
    }

    pub(super) fn reordered(&self) -> u64 {
        self.0.reordered.load(Ordering::Relaxed)
    }

    pub(super) fn shim(&self) -> &str {
        &self.0.shim
    }

    fn frame<M: Message>(
        &self,
        call: &Call<'_, M>,
        lifetime: Option<Duration>,
    ) -> Result<ttrpc::Request, ShimError> {
        let mut frame = ttrpc::Request::new();
        frame.service = call.service.to_owned();
        frame.method = call.method.to_owned();
        frame.payload = call
            .request
            .write_to_bytes()
            .map_err(|e| ShimError::malformed(&self.0.shim, call.method, e))?;
        frame.timeout_nano =
            lifetime.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX));
        frame.metadata = vec![ttrpc::proto::KeyValue {
            key: "containerd-namespace-ttrpc".to_owned(),
            value: self.0.namespace.clone(),
            ..Default::default()
        }];
        Ok(frame)
    }

    async fn exchange(&self, frame: ttrpc::Request) -> ttrpc::Result<ttrpc::Response> {
        for _ in 1..REORDER_TRIES {
            match self.exchange_once(frame.clone()).await {
                Err(e) if is_reordered(&e) => {
                    self.0.reordered.fetch_add(1, Ordering::Relaxed);
                }
                answer => return answer,
            }
        }
        self.exchange_once(frame).await
    }

    async fn exchange_once(&self, frame: ttrpc::Request) -> ttrpc::Result<ttrpc::Response> {
        let mut request = Box::pin(self.0.client.request(frame));
        let first = poll_fn(|context| {
            let _order = self.0.order.lock().unwrap_or_else(PoisonError::into_inner);
            Poll::Ready(request.as_mut().poll(context))
        })
        .await;
        match first {
            Poll::Ready(answer) => answer,
            Poll::Pending => request.await,
        }
    }

    fn unpack<A: Message>(
        &self,
        method: &str,
        answer: Result<ttrpc::Result<ttrpc::Response>, tokio::task::JoinError>,
    ) -> Result<A, ShimError> {
        let response = answer
            .map_err(|e| ShimError::malformed(&self.0.shim, method, e))?
            .map_err(|e| ShimError::from_ttrpc(&self.0.shim, method, e))?;
        A::parse_from_bytes(&response.payload)
            .map_err(|e| ShimError::malformed(&self.0.shim, method, e))
    }
}

fn is_reordered(error: &ttrpc::Error) -> bool {
    matches!(error, ttrpc::Error::RpcStatus(status)
        if status.code() == Code::INVALID_ARGUMENT && status.message().contains("StreamID cannot be re-used"))
}

async fn connect(address: &str) -> io::Result<UnixStream> {
    use std::os::linux::net::SocketAddrExt;
    if let Some(path) = address.strip_prefix("unix://") {
        return UnixStream::connect(path).await;
    }
    if address.starts_with('/') {
        return UnixStream::connect(address).await;
    }
    if let Some((scheme, _)) = address.split_once("://") {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("address scheme {scheme}:// is not supported"),
        ));
    }
    let name = std::os::unix::net::SocketAddr::from_abstract_name(address)?;
    let stream = std::os::unix::net::UnixStream::connect_addr(&name)?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// A stream that tells when its other end is gone; ttrpc's client keeps that to itself.
struct Watched {
    stream: UnixStream,
    tell: watch::Sender<bool>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let wanted = buffer.remaining() > 0;
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let ended = match &read {
            Poll::Ready(Ok(())) => wanted && buffer.filled().len() == before,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        if ended {
            self.tell.send_replace(true);
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufReader, Read, Write},
        os::unix::net::UnixListener,
        thread,
    };

    use containerd_shim_protos::api::{ConnectRequest, ConnectResponse};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// Answers every call, as Go's server does since ttrpc 1.2: an id that is not higher than
    /// all before it is refused.
    fn strict_server(listener: UnixListener) {
        let (stream, _) = listener.accept().unwrap();
        let mut writer = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        let (mut header, mut last) = ([0; 10], 0);
        while reader.read_exact(&mut header).is_ok() {
            let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
            let (length, id) = (number(0), number(4));
            let mut body = vec![0; usize::try_from(length).unwrap()];
            reader.read_exact(&mut body).unwrap();
            let mut answer = ttrpc::Response::new();
            if id <= last {
                let text = "StreamID cannot be re-used and must increment";
                answer.set_status(ttrpc::get_status(Code::INVALID_ARGUMENT, text));
            }
            last = last.max(id);
            let body = answer.write_to_bytes().unwrap();
            let length = u32::try_from(body.len()).unwrap().to_be_bytes();
            let frame = [&length[..], &id.to_be_bytes(), &[2, 0], &body].concat();
            if writer.write_all(&frame).is_err() {
                break;
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn stream_ids_go_out_in_order_under_32000_parallel_calls() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || strict_server(listener));
        let address = format!("unix://{}", path.display());
        let connection = Connection::open(&address, "test", SOON).await.unwrap();
        let request = ConnectRequest::new();
        let callers: Vec<_> = (0..64)
            .map(|_| {
                let (connection, request) = (connection.clone(), request.clone());
                tokio::spawn(async move {
                    for _ in 0..500 {
                        let call = Call { service: "s", method: "m", request: &request };
                        connection.call::<_, ConnectResponse>(call, SOON).await.unwrap();
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        assert_eq!(connection.reordered(), 0, "calls went out of order");
        drop(connection);
        server.join().unwrap();
    }
}
