// SPDX-License-Identifier: Apache-2.0
//! Calls that succeed when their work is already done.

use crisp_cri::*;
use futures::future::try_join_all;

use crate::case::{Outcome, cases};
use crate::fixture::Test;

cases! { "idempotence";
    "StopPodSandbox of an unknown pod succeeds" => stop_unknown_pod,
    "StopPodSandbox of a stopped pod succeeds" => stop_pod_twice,
    "StopPodSandbox side by side succeeds" => stop_pod_side_by_side,
    "RemovePodSandbox of an unknown pod succeeds" => remove_unknown_pod,
    "RemovePodSandbox twice succeeds" => remove_pod_twice,
    "RemovePodSandbox side by side succeeds" => remove_pod_side_by_side,
    "StopContainer of an unknown container succeeds" => stop_unknown,
    "StopContainer of a stopped container succeeds" => stop_twice,
    "RemoveContainer of an unknown container succeeds" => remove_unknown,
    "RemoveContainer twice succeeds" => remove_twice,
    "RemoveImage of an unknown image succeeds" => remove_unknown_image,
}

/// An id as critest makes one up: a bare UUID.
const UNKNOWN: &str = "7f1ae0a2-4e3f-4a52-9b5c-1d2f6f0c8e55";

async fn stop_unknown_pod(t: Test) -> Outcome {
    let request = StopPodSandboxRequest { pod_sandbox_id: UNKNOWN.to_owned() };
    t.cri().stop_pod_sandbox(request).await?;
    Ok(())
}

async fn stop_pod_twice(t: Test) -> Outcome {
    let pod = t.pod().await?;
    pod.stop().await?;
    pod.stop().await?;
    Ok(())
}

async fn stop_pod_side_by_side(t: Test) -> Outcome {
    let pod = t.pod().await?;
    pod.idle().await?;
    try_join_all((0..5).map(|_| pod.stop())).await?;
    Ok(())
}

async fn remove_unknown_pod(t: Test) -> Outcome {
    let request = RemovePodSandboxRequest { pod_sandbox_id: UNKNOWN.to_owned() };
    t.cri().remove_pod_sandbox(request).await?;
    Ok(())
}

async fn remove_pod_twice(t: Test) -> Outcome {
    let pod = t.pod().await?;
    pod.remove().await?;
    pod.remove().await?;
    pod.stop().await?;
    Ok(())
}

async fn remove_pod_side_by_side(t: Test) -> Outcome {
    let pod = t.pod().await?;
    pod.idle().await?;
    pod.stop().await?;
    try_join_all((0..5).map(|_| pod.remove())).await?;
    Ok(())
}

async fn stop_unknown(t: Test) -> Outcome {
    let request = StopContainerRequest { container_id: UNKNOWN.to_owned(), timeout: 1 };
    t.cri().stop_container(request).await?;
    Ok(())
}

async fn stop_twice(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    container.stop(0).await?;
    container.stop(0).await?;
    Ok(())
}

async fn remove_unknown(t: Test) -> Outcome {
    let request = RemoveContainerRequest { container_id: UNKNOWN.to_owned() };
    t.cri().remove_container(request).await?;
    Ok(())
}

async fn remove_twice(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    container.remove().await?;
    container.remove().await?;
    container.stop(0).await?;
    Ok(())
}

async fn remove_unknown_image(t: Test) -> Outcome {
    t.remove_image(&"0".repeat(64)).await?;
    t.remove_image("registry.k8s.io/no/such-image:1").await?;
    Ok(())
}
