// SPDX-License-Identifier: Apache-2.0
//! Checkpoints: a runtime that has none says UNIMPLEMENTED; one that has them refuses what it must.

use crisp_cri::*;
use tonic::Code;

use crate::case::{Outcome, cases, skip};
use crate::cri::CallError;
use crate::fixture::Test;
use crate::want::{refused, so};

cases! { "checkpoint";
    "CheckpointContainer of an unknown container is refused and writes nothing" => container,
    "CheckpointPod of an unknown pod is refused and writes nothing" => pod,
    "CheckpointPod with unknown options is refused and writes nothing" => options,
    "RestorePod of nothing is refused and leaves no pod" => restore,
}

fn must_refuse<T>(call: &str, result: Result<T, CallError>) -> Outcome {
    match result {
        Err(error) if error.code() == Code::Unimplemented => {
            skip(format!("{call} is not implemented"))
        }
        result => refused(call, result).map(drop),
    }
}

async fn container(t: Test) -> Outcome {
    let location = t.dir().join("checkpoint.tar");
    let request = CheckpointContainerRequest {
        container_id: "f".repeat(64),
        location: location.display().to_string(),
        timeout: 10,
    };
    must_refuse("CheckpointContainer", t.cri().checkpoint_container(request).await)?;
    so("no file is made", !location.exists(), location)
}

async fn checkpoint_pod(t: &Test, request: CheckpointPodRequest) -> Outcome {
    let output = t.make_dir("checkpoint")?;
    let output_path = output.display().to_string();
    let request = CheckpointPodRequest { output_path, ..request };
    must_refuse("CheckpointPod", t.cri().checkpoint_pod(request).await)?;
    let empty = std::fs::read_dir(&output)?.next().is_none();
    so("the directory is there and empty", empty, output)
}

async fn pod(t: Test) -> Outcome {
    let request = CheckpointPodRequest {
        pod_sandbox_id: "f".repeat(64),
        container_ids: vec!["e".repeat(64)],
        ..Default::default()
    };
    checkpoint_pod(&t, request).await
}

async fn options(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let container = pod.idle().await?;
    let request = CheckpointPodRequest {
        pod_sandbox_id: pod.id.clone(),
        container_ids: vec![container.id],
        options: crate::edit::map(&[("no-such-option", "1")]),
        ..Default::default()
    };
    checkpoint_pod(&t, request).await
}

async fn restore(t: Test) -> Outcome {
    let config = t.pod_config()?;
    let request = RestorePodRequest {
        checkpoint_path: t.make_dir("nothing")?.display().to_string(),
        config: Some(config.clone()),
        runtime_handler: t.suite().handler.clone(),
        container_configs: vec![ContainerConfig {
            metadata: Some(ContainerMetadata { name: "x".to_owned(), attempt: 0 }),
            ..Default::default()
        }],
        ..Default::default()
    };
    must_refuse("RestorePod", t.cri().restore_pod(request).await)?;
    let all = t.cri().list_pod_sandbox(ListPodSandboxRequest::default()).await?.items;
    let left: Vec<_> = all.iter().filter(|p| p.metadata == config.metadata).collect();
    so("no pod is left behind", left.is_empty(), left)
}
