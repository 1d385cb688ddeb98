// SPDX-License-Identifier: Apache-2.0
//! systemd's watchdog: fed only when the CRI answers a client's questions in time.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crisp_cri::{
    ImageSpec, ImageStatusRequest, ListPodSandboxRequest, PodSandboxFilter, VersionRequest,
    image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient,
};
use sd_notify::NotifyState;
use tonic::transport::Endpoint;

/// An id and a name that nothing has.
const NOTHING: &str = "crisp.invalid/watchdog";

/// Why the watchdog was not fed.
#[derive(Debug, thiserror::Error)]
pub enum SilentError {
    /// The socket is not reached.
    #[error("cannot connect to {}", .0.display())]
    Connect(PathBuf, #[source] tonic::transport::Error),
    /// A question has an error for an answer.
    #[error("the CRI answers with an error")]
    Answer(#[source] Box<tonic::Status>),
    /// There is no answer.
    #[error("the CRI does not answer within {0:?}")]
    Late(Duration),
}

impl From<tonic::Status> for SilentError {
    fn from(status: tonic::Status) -> Self {
        Self::Answer(status.into())
    }
}

/// How often systemd wants to hear of this process; `None` where it does not ask.
#[must_use]
pub fn period() -> Option<Duration> {
    let mut microseconds = 0;
    sd_notify::watchdog_enabled(false, &mut microseconds)
        .then(|| Duration::from_micros(microseconds))
}

/// Feeds the watchdog three times in each `period`, as long as the CRI at `socket` answers. Ends
/// never.
pub async fn feed(socket: PathBuf, period: Duration) {
    let step = period / 3;
    loop {
        match answers_within(&socket, step).await {
            Ok(()) => {
                if let Err(error) = sd_notify::notify(false, &[NotifyState::Watchdog]) {
                    tracing::warn!(%error, "cannot feed the watchdog");
                }
                tokio::time::sleep(step).await;
            }
            Err(error) => {
                let error = crate::cri::status::chain(&error);
                tracing::error!("the watchdog is not fed: {error}");
                tokio::time::sleep(step / 4).await;
            }
        }
    }
}

/// Asks as a client does, over a connection of its own: about the runtime, about pods, about
/// images. All three are about nothing, so an answer costs nothing.
async fn answers_within(socket: &Path, limit: Duration) -> Result<(), SilentError> {
    let asked = tokio::time::timeout(limit, ask(socket)).await;
    asked.unwrap_or(Err(SilentError::Late(limit)))
}

async fn ask(socket: &Path) -> Result<(), SilentError> {
    let failed = |error| SilentError::Connect(socket.to_owned(), error);
    let endpoint = Endpoint::try_from(format!("unix:{}", socket.display())).map_err(failed)?;
    let channel = endpoint.connect().await.map_err(failed)?;
    let mut runtime = RuntimeServiceClient::new(channel.clone());
    runtime.version(VersionRequest::default()).await?;
    let filter = PodSandboxFilter { id: NOTHING.to_owned(), ..PodSandboxFilter::default() };
    runtime.list_pod_sandbox(ListPodSandboxRequest { filter: Some(filter) }).await?;
    let image = ImageSpec { image: NOTHING.to_owned(), ..ImageSpec::default() };
    let image = ImageStatusRequest { image: Some(image), verbose: false };
    ImageServiceClient::new(channel).image_status(image).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crisp_cri::{
        ImageStatusResponse, ListPodSandboxResponse, VersionResponse,
        image_service_server::ImageService, runtime_service_server::RuntimeService,
    };
    use tonic::{Request, Response, Status, async_trait};

    use super::*;
    use crate::{
        config::Config,
        metrics::Metrics,
        server::{Activity, Socket, serve},
    };

    /// Answers, but about pods only as `pods` says.
    #[derive(Clone)]
    struct Node {
        pods: Pods,
    }

    #[derive(Clone, Copy)]
    enum Pods {
        Answer,
        Fail,
        Hang,
    }

    #[async_trait]
    impl RuntimeService for Node {
        async fn version(
            &self,
            _: Request<VersionRequest>,
        ) -> Result<Response<VersionResponse>, Status> {
            Ok(Response::new(Default::default()))
        }

        async fn list_pod_sandbox(
            &self,
            _: Request<ListPodSandboxRequest>,
        ) -> Result<Response<ListPodSandboxResponse>, Status> {
            match self.pods {
                Pods::Answer => Ok(Response::new(Default::default())),
                Pods::Fail => Err(Status::internal("the index is gone")),
                Pods::Hang => std::future::pending().await,
            }
        }
    }

    #[async_trait]
    impl ImageService for Node {
        async fn image_status(
            &self,
            _: Request<ImageStatusRequest>,
        ) -> Result<Response<ImageStatusResponse>, Status> {
            Ok(Response::new(Default::default()))
        }
    }

    async fn asked(pods: Pods) -> Result<(), SilentError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("crisp.sock");
        let (_socket, listener) = Socket::listen(&path).unwrap();
        let node = Node { pods };
        let server = tokio::spawn(async move {
            let never = std::future::pending();
            let observers = (Activity::default(), Metrics::default());
            serve(listener, node.clone(), node, &Config::default(), observers, never).await
        });
        let limit = match pods {
            Pods::Hang => Duration::from_millis(300),
            Pods::Answer | Pods::Fail => Duration::from_secs(30),
        };
        let result = answers_within(&path, limit).await;
        server.abort();
        result
    }

    #[tokio::test]
    async fn a_node_counts_as_alive_only_when_all_of_it_answers() {
        asked(Pods::Answer).await.unwrap();
        let failed = asked(Pods::Fail).await.unwrap_err();
        assert!(crate::cri::status::chain(&failed).contains("the index is gone"));
        assert!(matches!(asked(Pods::Hang).await, Err(SilentError::Late(_))));
        let nobody = answers_within(Path::new("/nonexistent/sock"), Duration::from_secs(5)).await;
        assert!(matches!(nobody, Err(SilentError::Connect(..))));
    }
}
