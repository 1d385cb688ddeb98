// SPDX-License-Identifier: Apache-2.0

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use protobuf::{Message, MessageFull};
use ttrpc::{
    Code,
    asynchronous::{MethodHandler, Service, TtrpcContext},
    error::get_rpc_status,
    get_status,
};

use crate::{
    AttachRequest, AttachResponse, CloseRequest, CloseResponse, DrainedRequest, DrainedResponse,
    HelloRequest, HelloResponse, OpenRequest, OpenResponse, ReopenLogRequest, ReopenLogResponse,
    SERVICE, ShutdownRequest, ShutdownResponse, method,
};

/// What a server of Pod I/O does.
#[async_trait]
pub trait PodIo: Send + Sync {
    /// Opens the container's log anew and answers once both streams write to the new file.
    ///
    /// # Errors
    /// A ttrpc status: `NOT_FOUND` for an unknown container, otherwise what kept the file shut.
    async fn reopen_log(&self, request: ReopenLogRequest) -> ttrpc::Result<ReopenLogResponse>;

    /// Prepares an attachment and answers with its socket.
    ///
    /// # Errors
    /// A ttrpc status: `NOT_FOUND` for an unknown container, `FAILED_PRECONDITION` when the
    /// container has none of the streams asked for.
    async fn attach(&self, request: AttachRequest) -> ttrpc::Result<AttachResponse>;

    /// Answers once all output written before the container's exit is in its log.
    ///
    /// # Errors
    /// A ttrpc status: `NOT_FOUND` for an unknown container.
    async fn drained(&self, request: DrainedRequest) -> ttrpc::Result<DrainedResponse>;

    /// Makes and serves the pipes of a container that another shim runs.
    ///
    /// # Errors
    /// A ttrpc status: `UNIMPLEMENTED` from a shim, `ALREADY_EXISTS` when the container was opened
    /// otherwise, and what kept a pipe or the log shut.
    async fn open(&self, _request: OpenRequest) -> ttrpc::Result<OpenResponse> {
        Err(for_helpers_alone(method::OPEN))
    }

    /// Stops serving a container.
    ///
    /// # Errors
    /// A ttrpc status: `UNIMPLEMENTED` from a shim.
    async fn close(&self, _request: CloseRequest) -> ttrpc::Result<CloseResponse> {
        Err(for_helpers_alone(method::CLOSE))
    }

    /// Closes all containers and ends the helper.
    ///
    /// # Errors
    /// A ttrpc status: `UNIMPLEMENTED` from a shim.
    async fn shutdown(&self, _request: ShutdownRequest) -> ttrpc::Result<ShutdownResponse> {
        Err(for_helpers_alone(method::SHUTDOWN))
    }

    /// Tells who serves.
    ///
    /// # Errors
    /// A ttrpc status: `UNIMPLEMENTED` from a shim.
    async fn hello(&self, _request: HelloRequest) -> ttrpc::Result<HelloResponse> {
        Err(for_helpers_alone(method::HELLO))
    }
}

fn for_helpers_alone(method: &str) -> ttrpc::Error {
    get_rpc_status(Code::UNIMPLEMENTED, format!("{method} is served by a pod's I/O helper alone"))
}

/// The dispatch table to give to [`ttrpc::asynchronous::Server::register_service`].
pub fn create_pod_io(service: Arc<dyn PodIo>) -> HashMap<String, Service> {
    let methods = method::ALL
        .into_iter()
        .map(|name| {
            let handler = Handler { service: service.clone(), name };
            (name.to_owned(), Box::new(handler) as Box<dyn MethodHandler + Send + Sync>)
        })
        .collect();
    HashMap::from([(SERVICE.to_owned(), Service { methods, streams: HashMap::new() })])
}

struct Handler {
    service: Arc<dyn PodIo>,
    name: &'static str,
}

#[async_trait]
impl MethodHandler for Handler {
    async fn handler(
        &self,
        _context: TtrpcContext,
        request: ttrpc::Request,
    ) -> ttrpc::Result<ttrpc::Response> {
        let answer = match self.name {
            method::REOPEN_LOG => encode(self.service.reopen_log(decode(&request)?).await),
            method::ATTACH => encode(self.service.attach(decode(&request)?).await),
            method::DRAINED => encode(self.service.drained(decode(&request)?).await),
            method::OPEN => encode(self.service.open(decode(&request)?).await),
            method::CLOSE => encode(self.service.close(decode(&request)?).await),
            method::SHUTDOWN => encode(self.service.shutdown(decode(&request)?).await),
            _ => encode(self.service.hello(decode(&request)?).await),
        };
        let mut response = ttrpc::Response::new();
        match answer {
            Ok(payload) => {
                response.set_status(get_status(Code::OK, ""));
                response.payload = payload;
            }
            Err(ttrpc::Error::RpcStatus(status)) => response.set_status(status),
            Err(other) => response.set_status(get_status(Code::UNKNOWN, other)),
        }
        Ok(response)
    }
}

fn decode<M: MessageFull>(request: &ttrpc::Request) -> ttrpc::Result<M> {
    M::parse_from_bytes(&request.payload)
        .map_err(|e| get_rpc_status(Code::INVALID_ARGUMENT, format!("{}: {e}", M::NAME)))
}

fn encode<M: Message>(answer: ttrpc::Result<M>) -> ttrpc::Result<Vec<u8>> {
    answer?.write_to_bytes().map_err(|e| get_rpc_status(Code::INTERNAL, e))
}
