// SPDX-License-Identifier: Apache-2.0
//! The six Stream* lists: each gives exactly what its unary twin gives.

use std::fmt::Debug;

use anyhow::{Context as _, Result, ensure};
use crisp_cri::*;
use tonic::Streaming;

use crate::case::{Outcome, cases};
use crate::cri::CallError;
use crate::edit::map;
use crate::fixture::{Test, image_spec};
use crate::images;
use crate::pod::Pod;
use crate::want::{equal, so};

cases! { "stream-lists";
    "StreamPodSandboxes equals ListPodSandbox" => pods,
    "StreamContainers equals ListContainers" => containers,
    "StreamContainerStats names what ListContainerStats names" => container_stats,
    "StreamPodSandboxStats names what ListPodSandboxStats names" => pod_stats,
    "StreamPodSandboxMetrics names what ListPodSandboxMetrics names" => metrics,
    "StreamImages equals ListImages" [alone] => images,
    "a filter without a match ends at once" => nothing,
}

/// Everything a stream gives; every message must have at least one item.
async fn gather<M, T: Debug>(
    stream: Result<Streaming<M>, CallError>,
    items: fn(M) -> Vec<T>,
) -> Result<Vec<T>> {
    let mut stream = stream?;
    let mut all = Vec::new();
    while let Some(message) = stream.message().await.context("the stream broke off")? {
        let chunk = items(message);
        ensure!(!chunk.is_empty(), "a message of the stream has no items");
        all.extend(chunk);
    }
    Ok(all)
}

/// Two pods with a label of their own, one container each.
async fn two_pods(t: &Test) -> Result<(Vec<Pod>, std::collections::HashMap<String, String>)> {
    let labels = map(&[("mark", &t.unique("mark"))]);
    let mut pods = Vec::new();
    for _ in 0..2 {
        let pod = t.pod_in_cgroup(|p| p.labels = labels.clone()).await?;
        pod.start(|c| c.labels = labels.clone()).await?;
        pods.push(pod);
    }
    Ok((pods, labels))
}

async fn pods(t: Test) -> Outcome {
    let (pods, label_selector) = two_pods(&t).await?;
    let filter = Some(PodSandboxFilter { label_selector, ..Default::default() });
    let request = StreamPodSandboxesRequest { filter: filter.clone() };
    let stream = t.cri().stream_pod_sandboxes(request).await;
    let mut streamed = gather(stream, |m| m.pod_sandboxes).await?;
    let mut listed = t.cri().list_pod_sandbox(ListPodSandboxRequest { filter }).await?.items;
    streamed.sort_by(|a, b| a.id.cmp(&b.id));
    listed.sort_by(|a, b| a.id.cmp(&b.id));
    equal("number of pods", streamed.len(), pods.len())?;
    equal("streamed pods", streamed, listed)
}

async fn containers(t: Test) -> Outcome {
    let (pods, label_selector) = two_pods(&t).await?;
    let filter = Some(ContainerFilter { label_selector, ..Default::default() });
    let request = StreamContainersRequest { filter: filter.clone() };
    let stream = t.cri().stream_containers(request).await;
    let mut streamed = gather(stream, |m| m.containers).await?;
    let mut listed = t.cri().list_containers(ListContainersRequest { filter }).await?.containers;
    streamed.sort_by(|a, b| a.id.cmp(&b.id));
    listed.sort_by(|a, b| a.id.cmp(&b.id));
    equal("number of containers", streamed.len(), pods.len())?;
    equal("streamed containers", streamed, listed)
}

async fn container_stats(t: Test) -> Outcome {
    let (pods, label_selector) = two_pods(&t).await?;
    let filter = Some(ContainerStatsFilter { label_selector, ..Default::default() });
    let request = StreamContainerStatsRequest { filter: filter.clone() };
    let stream = t.cri().stream_container_stats(request).await;
    let streamed = gather(stream, |m| m.container_stats).await?;
    let request = ListContainerStatsRequest { filter };
    let listed = t.cri().list_container_stats(request).await?.stats;
    // The numbers are of another moment.
    let names = |stats: Vec<ContainerStats>| {
        let mut names: Vec<_> = stats.into_iter().filter_map(|s| s.attributes).collect();
        names.sort_by(|a, b| a.id.cmp(&b.id));
        names
    };
    equal("number of containers", streamed.len(), pods.len())?;
    equal("streamed attributes", names(streamed), names(listed))
}

async fn pod_stats(t: Test) -> Outcome {
    let (pods, label_selector) = two_pods(&t).await?;
    let filter = Some(PodSandboxStatsFilter { label_selector, ..Default::default() });
    let request = StreamPodSandboxStatsRequest { filter: filter.clone() };
    let stream = t.cri().stream_pod_sandbox_stats(request).await;
    let streamed = gather(stream, |m| m.pod_sandbox_stats).await?;
    let request = ListPodSandboxStatsRequest { filter };
    let listed = t.cri().list_pod_sandbox_stats(request).await?.stats;
    let names = |stats: Vec<PodSandboxStats>| {
        let mut names: Vec<_> = stats.into_iter().filter_map(|s| s.attributes).collect();
        names.sort_by(|a, b| a.id.cmp(&b.id));
        names
    };
    equal("number of pods", streamed.len(), pods.len())?;
    equal("streamed attributes", names(streamed), names(listed))
}

async fn metrics(t: Test) -> Outcome {
    let (pods, _) = two_pods(&t).await?;
    let request = StreamPodSandboxMetricsRequest {};
    let stream = t.cri().stream_pod_sandbox_metrics(request).await;
    let streamed = gather(stream, |m| m.pod_sandbox_metrics).await?;
    let request = ListPodSandboxMetricsRequest {};
    let listed = t.cri().list_pod_sandbox_metrics(request).await?.pod_metrics;
    for pod in pods {
        let names = |all: &[PodSandboxMetrics]| {
            let mine: Vec<_> = all.iter().filter(|m| m.pod_sandbox_id == pod.id).collect();
            ensure!(mine.len() == 1, "{} entries of one pod", mine.len());
            let containers = &mine[0].container_metrics;
            let mut ids: Vec<_> = containers.iter().map(|c| c.container_id.clone()).collect();
            ids.sort_unstable();
            Ok(ids)
        };
        equal("containers of the streamed pod", names(&streamed)?, names(&listed)?)?;
    }
    Ok(())
}

async fn images(t: Test) -> Outcome {
    t.ensure_image(images::BUSYBOX).await?;
    let stream = t.cri().stream_images(StreamImagesRequest::default()).await;
    let mut streamed = gather(stream, |m| m.images).await?;
    let mut listed = t.images().await?;
    streamed.sort_by(|a, b| a.id.cmp(&b.id));
    listed.sort_by(|a, b| a.id.cmp(&b.id));
    so("there are images", !streamed.is_empty(), &streamed)?;
    equal("streamed images", streamed, listed)
}

async fn nothing(t: Test) -> Outcome {
    let id = "f".repeat(64);
    let filter = Some(PodSandboxFilter { id: id.clone(), ..Default::default() });
    let stream = t.cri().stream_pod_sandboxes(StreamPodSandboxesRequest { filter }).await;
    equal("streamed pods", gather(stream, |m| m.pod_sandboxes).await?, vec![])?;
    let filter = Some(ContainerFilter { id, ..Default::default() });
    let stream = t.cri().stream_containers(StreamContainersRequest { filter }).await;
    equal("streamed containers", gather(stream, |m| m.containers).await?, vec![])?;
    let image = Some(image_spec("registry.k8s.io/no/such-image:1"));
    let filter = Some(ImageFilter { image });
    let stream = t.cri().stream_images(StreamImagesRequest { filter }).await;
    equal("streamed images", gather(stream, |m| m.images).await?, vec![])
}
