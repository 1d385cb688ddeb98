// SPDX-License-Identifier: Apache-2.0

use std::time::Duration;

use protobuf::Message;
use ttrpc::{Code, asynchronous::Client, error::get_rpc_status};

use crate::{
    AttachRequest, AttachResponse, CloseRequest, CloseResponse, DrainedRequest, DrainedResponse,
    HelloRequest, HelloResponse, OpenRequest, OpenResponse, ReopenLogRequest, ReopenLogResponse,
    SERVICE, ShutdownRequest, ShutdownResponse, method,
};

/// A client of Pod I/O that sends one call at a time; the daemon has its own way of calling.
#[derive(Clone)]
pub struct PodIoClient {
    connection: Client,
    deadline: Duration,
}

impl PodIoClient {
    /// Calls over `connection`; each call fails after `deadline`.
    #[must_use]
    pub fn new(connection: Client, deadline: Duration) -> Self {
        Self { connection, deadline }
    }

    /// See [`crate::PodIo::reopen_log`].
    ///
    /// # Errors
    /// The server's status, or what broke the connection.
    pub async fn reopen_log(&self, request: &ReopenLogRequest) -> ttrpc::Result<ReopenLogResponse> {
        self.call(method::REOPEN_LOG, request).await
    }

    /// See [`crate::PodIo::attach`].
    ///
    /// # Errors
    /// The server's status, or what broke the connection.
    pub async fn attach(&self, request: &AttachRequest) -> ttrpc::Result<AttachResponse> {
        self.call(method::ATTACH, request).await
    }

    /// See [`crate::PodIo::drained`].
    ///
    /// # Errors
    /// The server's status, or what broke the connection.
    pub async fn drained(&self, request: &DrainedRequest) -> ttrpc::Result<DrainedResponse> {
        self.call(method::DRAINED, request).await
    }

    /// See [`crate::PodIo::open`].
    ///
    /// # Errors
    /// The server's status, or what broke the connection.
    pub async fn open(&self, request: &OpenRequest) -> ttrpc::Result<OpenResponse> {
        self.call(method::OPEN, request).await
    }

    /// See [`crate::PodIo::close`].
    ///
    /// # Errors
    /// The server's status, or what broke the connection.
    pub async fn close(&self, request: &CloseRequest) -> ttrpc::Result<CloseResponse> {
        self.call(method::CLOSE, request).await
    }

    /// See [`crate::PodIo::shutdown`].
    ///
    /// # Errors
    /// The server's status, or what broke the connection.
    pub async fn shutdown(&self, request: &ShutdownRequest) -> ttrpc::Result<ShutdownResponse> {
        self.call(method::SHUTDOWN, request).await
    }

    /// See [`crate::PodIo::hello`].
    ///
    /// # Errors
    /// The server's status, or what broke the connection.
    pub async fn hello(&self, request: &HelloRequest) -> ttrpc::Result<HelloResponse> {
        self.call(method::HELLO, request).await
    }

    async fn call<A: Message>(&self, method: &str, request: &impl Message) -> ttrpc::Result<A> {
        let broken = |e: protobuf::Error| get_rpc_status(Code::INTERNAL, e);
        let mut frame = ttrpc::Request::new();
        frame.service = SERVICE.to_owned();
        frame.method = method.to_owned();
        frame.timeout_nano = i64::try_from(self.deadline.as_nanos()).unwrap_or(i64::MAX);
        frame.payload = request.write_to_bytes().map_err(broken)?;
        let answer = self.connection.request(frame).await?;
        A::parse_from_bytes(&answer.payload).map_err(broken)
    }
}
