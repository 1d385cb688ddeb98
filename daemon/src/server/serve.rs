// SPDX-License-Identifier: Apache-2.0

use std::io;

use crisp_cri::{
    image_service_server::{ImageService, ImageServiceServer},
    runtime_service_server::{RuntimeService, RuntimeServiceServer},
};
use tokio::{net::UnixListener, sync::oneshot};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use super::request_log::{Activity, RequestLog};
use crate::{config::Config, metrics::Metrics};

/// Calls that one connection may have open. A kubelet uses one connection for everything, and
/// pulls and event streams stay open for long.
const STREAMS: u32 = 4096;

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
#[error("the CRI socket failed")]
pub struct ServeError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl From<io::Error> for ServeError {
    fn from(source: io::Error) -> Self {
        Self(source.into())
    }
}

/// Answers CRI calls on `listener` until `stop` is ready, then waits a while for open calls.
///
/// # Errors
/// [`ServeError`] when the socket fails.
pub async fn serve(
    listener: UnixListener,
    runtime: impl RuntimeService,
    images: impl ImageService,
    config: &Config,
    observers: (Activity, Metrics),
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let (activity, metrics) = observers;
    let api = &config.api;
    let most_in = api.grpc_max_recv_msg_size.get() as usize;
    let most_out = api.grpc_max_send_msg_size.get() as usize;
    let (stopped, told) = oneshot::channel();
    let server = Server::builder()
        .max_concurrent_streams(STREAMS)
        .layer(RequestLog::new(activity, metrics))
        .add_service(
            RuntimeServiceServer::new(runtime)
                .max_decoding_message_size(most_in)
                .max_encoding_message_size(most_out),
        )
        .add_service(
            ImageServiceServer::new(images)
                .max_decoding_message_size(most_in)
                .max_encoding_message_size(most_out),
        )
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), async {
            // An error means that the sender is gone, which is as good a reason to end.
            let _ = told.await;
        });
    tokio::pin!(server);
    tokio::select! {
        ended = &mut server => return ended.map_err(|e| ServeError(e.into())),
        () = stop => {}
    }
    let _ = stopped.send(());
    match tokio::time::timeout(config.deadlines.shutdown, server).await {
        Ok(ended) => ended.map_err(|e| ServeError(e.into())),
        Err(_) => {
            tracing::info!("calls that were still open are dropped");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use crisp_cri::{
        PodSandboxStatsRequest, VersionRequest, VersionResponse,
        runtime_service_client::RuntimeServiceClient,
    };
    use tonic::{Code, Request, Response, Status, async_trait, transport::Endpoint};

    use super::*;
    use crate::server::Socket;

    struct Least;

    #[async_trait]
    impl RuntimeService for Least {
        async fn version(
            &self,
            _: Request<VersionRequest>,
        ) -> Result<Response<VersionResponse>, Status> {
            Ok(Response::new(VersionResponse {
                runtime_name: "least".into(),
                ..Default::default()
            }))
        }
    }

    impl ImageService for Least {}

    #[tokio::test]
    async fn a_client_is_answered_until_the_daemon_is_told_to_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("crisp.sock");
        let (_socket, listener) = Socket::listen(&path).unwrap();
        let (stop, told) = oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            let stop = async { told.await.unwrap_or_default() };
            let observers = (Activity::default(), Metrics::default());
            serve(listener, Least, Least, &Config::default(), observers, stop).await
        });

        let endpoint = Endpoint::try_from(format!("unix:{}", path.display())).unwrap();
        let mut client = RuntimeServiceClient::new(endpoint.connect().await.unwrap());
        let version = client.version(VersionRequest::default()).await.unwrap().into_inner();
        assert_eq!(version.runtime_name, "least");
        let missing = client.pod_sandbox_stats(PodSandboxStatsRequest::default()).await;
        assert_eq!(missing.unwrap_err().code(), Code::Unimplemented);

        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
    }
}
