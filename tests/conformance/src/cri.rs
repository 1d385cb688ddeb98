// SPDX-License-Identifier: Apache-2.0
//! The client: every RPC the suite uses, with a deadline, and errors that name the call.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use crisp_cri::image_service_client::ImageServiceClient;
use crisp_cri::runtime_service_client::RuntimeServiceClient;
use crisp_cri::*;
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

/// What the kubelet's client can receive in one message.
const MAX_MESSAGE: usize = 16 << 20;
/// How long any call may take unless its own timeout argument adds to it.
const DEADLINE: Duration = Duration::from_secs(60);

/// A call that the endpoint refused, or did not answer in time.
#[derive(Debug, Clone)]
pub struct CallError {
    /// The RPC, in the spelling of the Rust client.
    call: &'static str,
    /// What came back.
    pub status: Status,
}

impl CallError {
    /// The gRPC code.
    pub fn code(&self) -> Code {
        self.status.code()
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let call: String = self.call.split('_').map(capitalised).collect();
        write!(f, "{call} answered {:?}: {}", self.status.code(), self.status.message())
    }
}

impl std::error::Error for CallError {}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// Connections to the runtime and image services of one endpoint.
#[derive(Debug, Clone)]
pub struct Cri {
    runtime: RuntimeServiceClient<Channel>,
    image: ImageServiceClient<Channel>,
}

/// A request that may prolong the deadline of its call.
trait Patience {
    fn patience(&self) -> Duration {
        Duration::ZERO
    }
}

macro_rules! calls {
    ($service:ident: $($name:ident($request:ident) -> $response:ty;)*) => {
        $(impl Patience for $request {})*
        calls!(@methods $service: $($name($request) -> $response;)*);
    };
    (@methods $service:ident: $($name:ident($request:ident) -> $response:ty;)*) => {
        #[expect(clippy::allow_attributes, reason = "not every suite needs every call")]
        impl Cri {
            $(/// The RPC of this name.
            #[allow(dead_code, reason = "the client is complete")]
            pub async fn $name(&self, request: $request) -> Result<$response, CallError> {
                let mut client = self.$service.clone();
                let deadline = DEADLINE + request.patience();
                let call = stringify!($name);
                match tokio::time::timeout(deadline, client.$name(request)).await {
                    Ok(Ok(response)) => Ok(response.into_inner()),
                    Ok(Err(status)) => Err(CallError { call, status }),
                    Err(_) => Err(CallError {
                        call,
                        status: Status::aborted(format!("no answer within {deadline:?}")),
                    }),
                }
            })*
        }
    };
}

impl Patience for StopContainerRequest {
    fn patience(&self) -> Duration {
        Duration::from_secs(self.timeout.max(0).cast_unsigned())
    }
}

impl Patience for ExecSyncRequest {
    fn patience(&self) -> Duration {
        Duration::from_secs(self.timeout.max(0).cast_unsigned())
    }
}

impl Patience for PullImageRequest {
    fn patience(&self) -> Duration {
        Duration::from_secs(120)
    }
}

calls! { @methods runtime:
    stop_container(StopContainerRequest) -> StopContainerResponse;
    exec_sync(ExecSyncRequest) -> ExecSyncResponse;
}

calls! { @methods image:
    pull_image(PullImageRequest) -> PullImageResponse;
}

calls! { runtime:
    version(VersionRequest) -> VersionResponse;
    status(StatusRequest) -> StatusResponse;
    runtime_config(RuntimeConfigRequest) -> RuntimeConfigResponse;
    update_runtime_config(UpdateRuntimeConfigRequest) -> UpdateRuntimeConfigResponse;
    run_pod_sandbox(RunPodSandboxRequest) -> RunPodSandboxResponse;
    stop_pod_sandbox(StopPodSandboxRequest) -> StopPodSandboxResponse;
    remove_pod_sandbox(RemovePodSandboxRequest) -> RemovePodSandboxResponse;
    pod_sandbox_status(PodSandboxStatusRequest) -> PodSandboxStatusResponse;
    list_pod_sandbox(ListPodSandboxRequest) -> ListPodSandboxResponse;
    stream_pod_sandboxes(StreamPodSandboxesRequest) -> Streaming<StreamPodSandboxesResponse>;
    pod_sandbox_stats(PodSandboxStatsRequest) -> PodSandboxStatsResponse;
    list_pod_sandbox_stats(ListPodSandboxStatsRequest) -> ListPodSandboxStatsResponse;
    stream_pod_sandbox_stats(StreamPodSandboxStatsRequest)
        -> Streaming<StreamPodSandboxStatsResponse>;
    update_pod_sandbox_resources(UpdatePodSandboxResourcesRequest)
        -> UpdatePodSandboxResourcesResponse;
    create_container(CreateContainerRequest) -> CreateContainerResponse;
    start_container(StartContainerRequest) -> StartContainerResponse;
    remove_container(RemoveContainerRequest) -> RemoveContainerResponse;
    list_containers(ListContainersRequest) -> ListContainersResponse;
    stream_containers(StreamContainersRequest) -> Streaming<StreamContainersResponse>;
    container_status(ContainerStatusRequest) -> ContainerStatusResponse;
    update_container_resources(UpdateContainerResourcesRequest)
        -> UpdateContainerResourcesResponse;
    exec(ExecRequest) -> ExecResponse;
    attach(AttachRequest) -> AttachResponse;
    port_forward(PortForwardRequest) -> PortForwardResponse;
    reopen_container_log(ReopenContainerLogRequest) -> ReopenContainerLogResponse;
    container_stats(ContainerStatsRequest) -> ContainerStatsResponse;
    list_container_stats(ListContainerStatsRequest) -> ListContainerStatsResponse;
    stream_container_stats(StreamContainerStatsRequest)
        -> Streaming<StreamContainerStatsResponse>;
    checkpoint_container(CheckpointContainerRequest) -> CheckpointContainerResponse;
    checkpoint_pod(CheckpointPodRequest) -> CheckpointPodResponse;
    restore_pod(RestorePodRequest) -> RestorePodResponse;
    get_container_events(GetEventsRequest) -> Streaming<ContainerEventResponse>;
    list_metric_descriptors(ListMetricDescriptorsRequest) -> ListMetricDescriptorsResponse;
    list_pod_sandbox_metrics(ListPodSandboxMetricsRequest) -> ListPodSandboxMetricsResponse;
    stream_pod_sandbox_metrics(StreamPodSandboxMetricsRequest)
        -> Streaming<StreamPodSandboxMetricsResponse>;
}

calls! { image:
    list_images(ListImagesRequest) -> ListImagesResponse;
    stream_images(StreamImagesRequest) -> Streaming<StreamImagesResponse>;
    image_status(ImageStatusRequest) -> ImageStatusResponse;
    remove_image(RemoveImageRequest) -> RemoveImageResponse;
    image_fs_info(ImageFsInfoRequest) -> ImageFsInfoResponse;
}

impl Cri {
    /// Connects to `runtime` and `image`, both `unix://` addresses or socket paths.
    pub async fn connect(runtime: &str, image: &str) -> Result<Self> {
        let runtime = channel(runtime).await?;
        let image = channel(image).await?;
        Ok(Self {
            runtime: RuntimeServiceClient::new(runtime).max_decoding_message_size(MAX_MESSAGE),
            image: ImageServiceClient::new(image).max_decoding_message_size(MAX_MESSAGE),
        })
    }
}

async fn channel(address: &str) -> Result<Channel> {
    let path = PathBuf::from(address.strip_prefix("unix://").unwrap_or(address));
    let shown = path.display().to_string();
    Endpoint::from_static("http://localhost")
        .connect_with_connector(tower::service_fn(move |_: http::Uri| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
        }))
        .await
        .with_context(|| format!("cannot connect to {shown}"))
}
