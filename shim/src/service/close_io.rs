// SPDX-License-Identifier: Apache-2.0
//! Tells another's shim that a container's standard input has ended. Such a shim may hold the
//! pipe open itself, and its container would wait for ever.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixStream},
    },
    time::Duration,
};

use containerd_shim_protos::api::CloseIORequest;
use crisp_podio::TaskServer;
use protobuf::Message;
use tokio::time::timeout;
use ttrpc::{
    Code, Request,
    asynchronous::{Client, transport::Socket},
    proto::KeyValue,
};

use crate::io::complain;

/// How long the shim may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Calls CloseIO for `container`. A container that is gone needs no telling; any other failure is
/// told to the log.
pub(super) async fn close_io(task: TaskServer, container: String) {
    match timeout(DEADLINE, call(&task, &container)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => complain(format_args!("end of input of container {container}: {error}")),
        Err(_) => complain(format_args!(
            "end of input of container {container}: {} did not answer within {DEADLINE:?}",
            task.address
        )),
    }
}

async fn call(task: &TaskServer, container: &str) -> ttrpc::Result<()> {
    let stream = connect(&task.address)
        .map_err(|e| ttrpc::Error::Others(format!("cannot connect to {}: {e}", task.address)))?;
    let client = Client::new(Socket::new(stream));
    let close =
        CloseIORequest { id: container.to_owned(), stdin: true, ..CloseIORequest::default() };
    let mut request = Request::new();
    request.service = format!("containerd.task.v{}.Task", task.version);
    request.method = "CloseIO".to_owned();
    request.timeout_nano = i64::try_from(DEADLINE.as_nanos()).unwrap_or(i64::MAX);
    request.payload = close.write_to_bytes().map_err(|e| ttrpc::Error::Others(e.to_string()))?;
    request.metadata = vec![KeyValue {
        key: "containerd-namespace-ttrpc".to_owned(),
        value: task.namespace.clone(),
        ..KeyValue::default()
    }];
    match client.request(request).await {
        Err(ttrpc::Error::RpcStatus(status)) if status.code() == Code::NOT_FOUND => Ok(()),
        other => other.map(drop),
    }
}

/// Connects to an address as a shim's `start` prints it.
fn connect(address: &str) -> io::Result<tokio::net::UnixStream> {
    let path = address.strip_prefix("unix://").or(Some(address).filter(|a| a.starts_with('/')));
    let stream = match path {
        Some(path) => UnixStream::connect(path)?,
        None => UnixStream::connect_addr(&SocketAddr::from_abstract_name(address)?)?,
    };
    stream.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(stream)
}
