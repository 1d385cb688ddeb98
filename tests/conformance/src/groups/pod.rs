// SPDX-License-Identifier: Apache-2.0
//! Pod sandboxes: life, identity, attributes, filters.

use anyhow::{Context as _, Result};
use crisp_cri::*;
use futures::future::try_join_all;
use tonic::Code;

use crate::case::{Outcome, cases};
use crate::edit::{EditPod as _, map};
use crate::fixture::Test;
use crate::images;
use crate::want::{equal, refused, refused_with, so};

cases! { "pod";
    "a running pod is READY in status and list" => running,
    "a stopped pod is NOTREADY and stays listed" => stopping,
    "a removed pod is gone from status and list" => removing,
    "a READY pod can be removed" => removing_ready,
    "status and list keep metadata, labels and annotations" => attributes,
    "annotations and labels come back byte for byte" => odd_annotations,
    "a pod without linux settings runs" => no_linux,
    "a pod without metadata is refused" => no_metadata,
    "a second pod with the same metadata is refused" => same_metadata,
    "the same metadata may be used again after removal" => metadata_again,
    "a pod with another attempt lives beside the first" => next_attempt,
    "a pod with another namespace or uid lives beside the first" => name_alone_is_not_unique,
    "an unknown runtime handler is refused and leaves no pod" => unknown_handler,
    "status and list report the requested handler" => handler,
    "filters by id, prefix, state and labels are ANDed" => filters,
    "a filter without a match gives an empty list" => filter_without_match,
    "status finds a pod by a unique prefix of its id" => prefix,
    "status of an unknown pod is NOT_FOUND" => unknown,
    "created_at is in nanoseconds and now" => created_at,
    "verbose status has JSON under info, plain status has none" => verbose,
    "stopping a pod ends its containers" => stop_ends_containers,
    "removing a pod removes its running containers" => remove_with_containers,
    "creating a container in a stopped pod is refused" => create_in_stopped,
    "creating a container in an unknown pod is NOT_FOUND" => create_in_unknown,
    "pods run side by side" => side_by_side,
    "a pod may have no log directory" => no_log_directory,
    "run_as_group without a user is refused" => group_without_user,
    "status lists the pod's containers" => containers_statuses,
}

async fn running(t: Test) -> Outcome {
    let pod = t.pod().await?;
    equal("PodSandboxStatus.state", pod.status().await?.state(), PodSandboxState::SandboxReady)?;
    let listed = pod.listed().await?.context("ListPodSandbox does not list a running pod")?;
    equal("ListPodSandbox state", listed.state(), PodSandboxState::SandboxReady)
}

async fn stopping(t: Test) -> Outcome {
    let pod = t.pod().await?;
    pod.stop().await?;
    let notready = PodSandboxState::SandboxNotready;
    equal("PodSandboxStatus.state after StopPodSandbox", pod.status().await?.state(), notready)?;
    let listed = pod.listed().await?.context("ListPodSandbox does not list a stopped pod")?;
    equal("ListPodSandbox state after StopPodSandbox", listed.state(), notready)
}

async fn removing(t: Test) -> Outcome {
    let pod = t.pod().await?;
    pod.stop().await?;
    pod.remove().await?;
    equal("ListPodSandbox after RemovePodSandbox", pod.listed().await?, None)?;
    let status = pod.full_status().await;
    refused_with("PodSandboxStatus after RemovePodSandbox", status, &[Code::NotFound]).map(drop)
}

async fn removing_ready(t: Test) -> Outcome {
    let pod = t.pod().await?;
    pod.remove().await?;
    equal("ListPodSandbox after RemovePodSandbox", pod.listed().await?, None)
}

async fn attributes(t: Test) -> Outcome {
    let labels = map(&[("app", "x"), ("tier", "back")]);
    let annotations = map(&[("note", "one"), ("example.org/other", "two")]);
    let pod = t
        .pod_with(|p| {
            p.labels = labels.clone();
            p.annotations = annotations.clone();
            p.metadata.get_or_insert_default().attempt = 2;
        })
        .await?;
    let status = pod.status().await?;
    equal("PodSandboxStatus.id", &status.id, &pod.id)?;
    equal("PodSandboxStatus.metadata", &status.metadata, &pod.config.metadata)?;
    equal("PodSandboxStatus.labels", &status.labels, &labels)?;
    equal("PodSandboxStatus.annotations", &status.annotations, &annotations)?;
    let listed = pod.listed().await?.context("ListPodSandbox does not list the pod")?;
    equal("ListPodSandbox metadata", &listed.metadata, &pod.config.metadata)?;
    equal("ListPodSandbox labels", &listed.labels, &labels)?;
    equal("ListPodSandbox annotations", &listed.annotations, &annotations)
}

async fn odd_annotations(t: Test) -> Outcome {
    let mut odd = map(&[
        ("a/b.c-d_e", "plain"),
        ("empty value", ""),
        ("json", "{\"a\":[1, 2]}\n"),
        ("ünï", "\u{1F980} \t \\ \"quoted\" 'single'\r\n"),
        ("io.kubernetes.cri-o.userns-mode", "not for you"),
        ("run.oci.handler", "neither"),
    ]);
    let pod = t
        .pod_with(|p| {
            p.labels = odd.clone();
            // Annotations have no bound of their own; 256 KiB in all is Kubernetes' limit.
            odd.insert("long".to_owned(), "x".repeat(200_000));
            p.annotations = odd.clone();
        })
        .await?;
    let status = pod.status().await?;
    equal("PodSandboxStatus.annotations", &status.annotations, &odd)?;
    odd.remove("long");
    equal("PodSandboxStatus.labels", &status.labels, &odd)
}

async fn no_linux(t: Test) -> Outcome {
    let pod = t.pod_with(|p| p.linux = None).await?;
    equal("PodSandboxStatus.state", pod.status().await?.state(), PodSandboxState::SandboxReady)?;
    let container = pod.start(|c| c.linux = None).await?;
    equal("output of an exec", container.sh("echo ok").await?, "ok")
}

async fn no_metadata(t: Test) -> Outcome {
    let mut config = t.pod_config()?;
    config.metadata = None;
    refused("RunPodSandbox without metadata", t.run_pod(config).await).map(drop)
}

async fn same_metadata(t: Test) -> Outcome {
    let pod = t.pod().await?;
    refused("a second RunPodSandbox", t.run_pod(pod.config.clone()).await)?;
    equal("the first pod", pod.status().await?.state(), PodSandboxState::SandboxReady)?;
    pod.stop().await?;
    let again = t.run_pod(pod.config.clone()).await;
    refused("RunPodSandbox while a stopped pod has the metadata", again).map(drop)
}

async fn metadata_again(t: Test) -> Outcome {
    let pod = t.pod().await?;
    pod.stop().await?;
    pod.remove().await?;
    let again = t.run_pod(pod.config.clone()).await?;
    so("the new pod has another id", again.id != pod.id, &again.id)
}

async fn next_attempt(t: Test) -> Outcome {
    let pod = t.pod().await?;
    pod.stop().await?;
    let mut config = pod.config.clone();
    config.metadata.get_or_insert_default().attempt = 1;
    let next = t.run_pod(config).await?;
    equal("the next attempt", next.status().await?.state(), PodSandboxState::SandboxReady)
}

async fn name_alone_is_not_unique(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let mut other_namespace = pod.config.clone();
    other_namespace.metadata.get_or_insert_default().namespace = t.unique("namespace");
    t.run_pod(other_namespace).await?;
    let mut other_uid = pod.config.clone();
    other_uid.metadata.get_or_insert_default().uid = t.unique("uid");
    t.run_pod(other_uid).await?;
    Ok(())
}

async fn unknown_handler(t: Test) -> Outcome {
    let config = t.pod_config()?;
    let handler = "no-such-handler";
    let error = refused("RunPodSandbox", t.run_pod_by(config.clone(), handler).await)?;
    so("the error names the handler", error.status.message().contains(handler), &error)?;
    let all = t.cri().list_pod_sandbox(ListPodSandboxRequest::default()).await?.items;
    let left: Vec<_> = all.iter().filter(|p| p.metadata == config.metadata).collect();
    so("no pod is left behind", left.is_empty(), left)?;
    t.run_pod(config).await?;
    Ok(())
}

async fn handler(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let asked = &t.suite().handler;
    equal("PodSandboxStatus.runtime_handler", &pod.status().await?.runtime_handler, asked)?;
    let listed = pod.listed().await?.context("ListPodSandbox does not list the pod")?;
    equal("ListPodSandbox runtime_handler", &listed.runtime_handler, asked)
}

async fn filters(t: Test) -> Outcome {
    let mark = t.unique("mark");
    let labelled = |more: &'static str| {
        let mark = mark.clone();
        move |p: &mut PodSandboxConfig| p.labels = map(&[("mark", &mark), ("more", more)])
    };
    let one = t.pod_with(labelled("one")).await?;
    let two = t.pod_with(labelled("two")).await?;
    two.stop().await?;
    let ready = Some(PodSandboxStateValue { state: PodSandboxState::SandboxReady.into() });
    let notready = Some(PodSandboxStateValue { state: PodSandboxState::SandboxNotready.into() });
    let all = map(&[("mark", &mark)]);
    let only_two = map(&[("mark", &mark), ("more", "two")]);
    let prefix = one.id.get(..13).unwrap_or(&one.id).to_owned();
    let both = vec![one.id.clone(), two.id.clone()];
    for (id, state, labels, wanted) in [
        (String::new(), None, &all, both),
        (String::new(), ready, &all, vec![one.id.clone()]),
        (String::new(), notready, &all, vec![two.id.clone()]),
        (String::new(), None, &only_two, vec![two.id.clone()]),
        (String::new(), ready, &only_two, vec![]),
        (one.id.clone(), None, &all, vec![one.id.clone()]),
        (one.id.clone(), notready, &all, vec![]),
        (one.id.clone(), None, &only_two, vec![]),
        (prefix, ready, &all, vec![one.id.clone()]),
    ] {
        let filter = PodSandboxFilter { id, state, label_selector: labels.clone() };
        let what = format!("ListPodSandbox by {filter:?}");
        let request = ListPodSandboxRequest { filter: Some(filter) };
        let items = t.cri().list_pod_sandbox(request).await?.items;
        let (mut came, mut wanted): (Vec<_>, _) =
            (items.into_iter().map(|p| p.id).collect(), wanted);
        came.sort_unstable();
        wanted.sort_unstable();
        equal(&what, came, wanted)?;
    }
    Ok(())
}

async fn filter_without_match(t: Test) -> Outcome {
    let filter = PodSandboxFilter { id: "f".repeat(64), ..Default::default() };
    let request = ListPodSandboxRequest { filter: Some(filter) };
    equal("ListPodSandbox by an unknown id", t.cri().list_pod_sandbox(request).await?.items, vec![])
}

async fn prefix(t: Test) -> Outcome {
    let mut pod = t.pod().await?;
    let full = pod.id.clone();
    pod.id = full.get(..13).unwrap_or(&full).to_owned();
    equal("PodSandboxStatus.id", pod.status().await?.id, full)
}

async fn unknown(t: Test) -> Outcome {
    let request = PodSandboxStatusRequest { pod_sandbox_id: "f".repeat(64), ..Default::default() };
    let result = t.cri().pod_sandbox_status(request).await;
    refused_with("PodSandboxStatus", result, &[Code::NotFound]).map(drop)
}

async fn created_at(t: Test) -> Outcome {
    let before = now_ns();
    let pod = t.pod().await?;
    let after = now_ns();
    let created = pod.status().await?.created_at;
    let fits = (before..=after).contains(&created);
    so(&format!("PodSandboxStatus.created_at within {before}..={after}"), fits, created)
}

/// Nanoseconds since the epoch.
pub fn now_ns() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map(|d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)).unwrap_or_default()
}

async fn verbose(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let plain = pod.full_status().await?;
    so("plain PodSandboxStatus has no info", plain.info.is_empty(), plain.info)?;
    let request = PodSandboxStatusRequest { pod_sandbox_id: pod.id.clone(), verbose: true };
    let info = t.cri().pod_sandbox_status(request).await?.info;
    json_info(&info)
}

/// `info` must hold a JSON object under the key `info`.
pub fn json_info(info: &std::collections::HashMap<String, String>) -> Result<()> {
    let text = info.get("info").context("the verbose answer has no key \"info\"")?;
    let value: serde_json::Value =
        serde_json::from_str(text).with_context(|| format!("info is not JSON: {text}"))?;
    so("info is a JSON object", value.is_object(), text)
}

async fn stop_ends_containers(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let (one, two) = (pod.idle().await?, pod.idle().await?);
    pod.stop().await?;
    for container in [one, two] {
        let status = container.status().await?;
        let exited = ContainerState::ContainerExited;
        equal("ContainerStatus.state after StopPodSandbox", status.state(), exited)?;
        so("finished_at is set", status.finished_at > 0, status.finished_at)?;
    }
    equal("containers listed after StopPodSandbox", pod.containers().await?.len(), 2)
}

async fn remove_with_containers(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let running = pod.idle().await?;
    pod.create(|_| ()).await?;
    pod.remove().await?;
    equal("containers listed after RemovePodSandbox", pod.containers().await?, vec![])?;
    let request = ContainerStatusRequest { container_id: running.id, verbose: false };
    let result = t.cri().container_status(request).await;
    refused_with("ContainerStatus after RemovePodSandbox", result, &[Code::NotFound]).map(drop)
}

async fn create_in_stopped(t: Test) -> Outcome {
    let pod = t.pod().await?;
    pod.stop().await?;
    let result = pod.create(|_| ()).await.map(drop);
    refused("CreateContainer in a stopped pod", result)?;
    equal("containers of the pod", pod.containers().await?, vec![])
}

async fn create_in_unknown(t: Test) -> Outcome {
    let mut pod = t.pod().await?;
    pod.id = "f".repeat(64);
    let result = pod.create(|_| ()).await.map(drop);
    refused_with("CreateContainer", result, &[Code::NotFound]).map(drop)
}

async fn side_by_side(t: Test) -> Outcome {
    t.ensure_image(images::BUSYBOX).await?;
    let lives = (0..8).map(|number| {
        let t = t.clone();
        async move {
            let pod = t.pod().await?;
            let container = pod.script(&format!("echo {number}")).await?;
            equal("output", container.output().await?, vec![number.to_string()])?;
            pod.remove().await?;
            Ok::<_, anyhow::Error>(())
        }
    });
    try_join_all(lives).await.map(drop)
}

async fn no_log_directory(t: Test) -> Outcome {
    let pod = t.pod_with(|p| p.log_directory.clear()).await?;
    let container = pod.script("echo gone; echo gone >&2; exit 4").await?;
    equal("ContainerStatus.exit_code", container.exited().await?.exit_code, 4)
}

async fn group_without_user(t: Test) -> Outcome {
    let mut config = t.pod_config()?;
    config.security().run_as_group = Some(Int64Value { value: 1000 });
    refused("RunPodSandbox with run_as_group alone", t.run_pod(config).await).map(drop)
}

async fn containers_statuses(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let container = pod.idle().await?;
    let status = pod.full_status().await?;
    let ids: Vec<_> = status.containers_statuses.iter().map(|c| c.id.clone()).collect();
    equal("PodSandboxStatusResponse.containers_statuses", ids, vec![container.id])?;
    so("PodSandboxStatusResponse.timestamp is set", status.timestamp > 0, status.timestamp)
}
