// SPDX-License-Identifier: Apache-2.0
//! Containers: life, identity, attributes, filters, stats.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use crisp_cri::*;
use tonic::Code;

use super::pod::{json_info, now_ns};
use crate::case::{Outcome, cases};
use crate::edit::{EditContainer as _, map};
use crate::fixture::Test;
use crate::images;
use crate::want::{contains, equal, refused, refused_with, so};

cases! { "container";
    "a created container is listed as CREATED" => created,
    "status keeps the container's attributes" => attributes,
    "annotations and labels come back byte for byte" => odd_annotations,
    "a started container is RUNNING" => starting,
    "a stopped container is EXITED well before its grace ends" => stopping,
    "a created container can be removed" => remove_created,
    "a running container can be removed" => remove_running,
    "a stopped container can be removed" => remove_stopped,
    "a removed container is NOT_FOUND" => removed_is_unknown,
    "status of an unknown container is NOT_FOUND" => unknown_status,
    "starting an unknown container is NOT_FOUND" => unknown_start,
    "a container cannot be started twice" => start_twice,
    "an exited container cannot be started again" => start_exited,
    "a name and attempt are taken while a container has them" => same_name,
    "a name and attempt are free after removal" => name_again,
    "another attempt lives beside the first" => next_attempt,
    "the same name lives in two pods" => name_in_two_pods,
    "a missing image is refused and leaves no container" => missing_image,
    "a container without metadata is refused" => no_metadata,
    "filters by id, prefix, pod, state and labels are ANDed" => filters,
    "status finds a container by a unique prefix of its id" => prefix,
    "times are in order and zero until they happen" => times,
    "verbose status has JSON under info, plain status has none" => verbose,
    "status names the image and its digested reference" => image_names,
    "stdin is empty unless asked for" => no_stdin,
    "stdin stays open when asked for" => open_stdin,
    "a container without a log path runs" => no_log_path,
    "stats name the container and carry CPU and memory times" => stats,
    "stats list a started container" => stats_listed,
    "stats without a filter list all containers" => stats_unfiltered,
    "stats are filtered by labels" => stats_by_labels,
    "stats advance between two reads" => stats_advance,
    "stats of an unknown container are an error" => stats_unknown,
    "stats show memory use and limits" => stats_memory,
    "the writable layer's use grows with what is written" => writable_layer,
}

async fn created(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let container = pod.create(|_| ()).await?;
    let listed = container.listed().await?.context("ListContainers does not list it")?;
    equal("ListContainers state", listed.state(), ContainerState::ContainerCreated)?;
    equal("ListContainers pod_sandbox_id", &listed.pod_sandbox_id, &pod.id)?;
    equal("ListContainers metadata", &listed.metadata, &container.config.metadata)?;
    let status = container.status().await?;
    equal("ContainerStatus.state", status.state(), ContainerState::ContainerCreated)
}

async fn attributes(t: Test) -> Outcome {
    let volume = t.make_dir("volume")?;
    let pod = t.pod().await?;
    let container = pod
        .create(|c| {
            c.labels = map(&[("app", "x"), ("tier", "back")]);
            c.annotations = map(&[("note", "one"), ("example.org/other", "two")]);
            c.metadata.get_or_insert_default().attempt = 2;
            c.bind(&volume, "/volume").readonly = true;
        })
        .await?;
    let status = container.status().await?;
    let config = &container.config;
    equal("ContainerStatus.id", &status.id, &container.id)?;
    equal("ContainerStatus.metadata", &status.metadata, &config.metadata)?;
    equal("ContainerStatus.labels", &status.labels, &config.labels)?;
    equal("ContainerStatus.annotations", &status.annotations, &config.annotations)?;
    equal("ContainerStatus.mounts", &status.mounts, &config.mounts)?;
    let log = container.log_file().map(|p| p.display().to_string()).unwrap_or_default();
    equal("ContainerStatus.log_path", &status.log_path, &log)?;
    let listed = container.listed().await?.context("ListContainers does not list it")?;
    equal("ListContainers labels", &listed.labels, &config.labels)?;
    equal("ListContainers annotations", &listed.annotations, &config.annotations)
}

async fn odd_annotations(t: Test) -> Outcome {
    let odd = map(&[
        ("a/b.c-d_e", "plain"),
        ("empty value", ""),
        ("json", "{\"a\":[1, 2]}\n"),
        ("ünï", "\u{1F980} \t \\ \"quoted\" 'single'\r\n"),
        ("org.systemd.property.MemoryMax", "'1'"),
    ]);
    let pod = t.pod().await?;
    let edit = |c: &mut ContainerConfig| {
        c.annotations = odd.clone();
        c.labels = odd.clone();
    };
    let status = pod.start(edit).await?.status().await?;
    equal("ContainerStatus.annotations", &status.annotations, &odd)?;
    equal("ContainerStatus.labels", &status.labels, &odd)
}

async fn starting(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let status = container.status().await?;
    equal("ContainerStatus.state", status.state(), ContainerState::ContainerRunning)?;
    let listed = container.listed().await?.context("ListContainers does not list it")?;
    equal("ListContainers state", listed.state(), ContainerState::ContainerRunning)
}

async fn stopping(t: Test) -> Outcome {
    let container = t.pod().await?.start(|c| c.script("top")).await?;
    container.logged("PID").await?;
    let start = Instant::now();
    container.stop(60).await?;
    so("StopContainer took less than 10 s", start.elapsed().as_secs() < 10, start.elapsed())?;
    let status = container.status().await?;
    equal("ContainerStatus.state", status.state(), ContainerState::ContainerExited)
}

async fn remove_created(t: Test) -> Outcome {
    let container = t.pod().await?.create(|_| ()).await?;
    container.remove().await?;
    equal("ListContainers after RemoveContainer", container.listed().await?, None)
}

async fn remove_running(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    container.remove().await?;
    equal("ListContainers after RemoveContainer", container.listed().await?, None)
}

async fn remove_stopped(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    container.stop(0).await?;
    container.remove().await?;
    equal("ListContainers after RemoveContainer", container.listed().await?, None)
}

async fn removed_is_unknown(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    container.remove().await?;
    let request = ContainerStatusRequest { container_id: container.id.clone(), verbose: false };
    let status = t.cri().container_status(request).await;
    refused_with("ContainerStatus", status, &[Code::NotFound])?;
    let exec = container.exec(&["true"]).await;
    refused_with("ExecSync", exec, &[Code::NotFound])?;
    refused_with("StartContainer", container.start().await, &[Code::NotFound]).map(drop)
}

async fn unknown_status(t: Test) -> Outcome {
    let request = ContainerStatusRequest { container_id: "f".repeat(64), verbose: false };
    let result = t.cri().container_status(request).await;
    refused_with("ContainerStatus", result, &[Code::NotFound]).map(drop)
}

async fn unknown_start(t: Test) -> Outcome {
    let request = StartContainerRequest { container_id: "f".repeat(64) };
    let result = t.cri().start_container(request).await;
    refused_with("StartContainer", result, &[Code::NotFound]).map(drop)
}

async fn start_twice(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    refused("a second StartContainer", container.start().await)?;
    let status = container.status().await?;
    equal("ContainerStatus.state", status.state(), ContainerState::ContainerRunning)
}

async fn start_exited(t: Test) -> Outcome {
    let container = t.pod().await?.script("exit 3").await?;
    container.exited().await?;
    refused("StartContainer of an exited container", container.start().await)?;
    equal("ContainerStatus.exit_code", container.status().await?.exit_code, 3)
}

async fn same_name(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let first = pod.create(|_| ()).await?;
    let second = pod.create_exactly(first.config.clone()).await.map(drop);
    refused("a second CreateContainer with the same metadata", second)?;
    equal("containers of the pod", pod.containers().await?.len(), 1)
}

async fn name_again(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let first = pod.create(|_| ()).await?;
    first.remove().await?;
    let second = pod.create_exactly(first.config.clone()).await?;
    so("the new container has another id", first.id != second.id, &second.id)
}

async fn next_attempt(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let first = pod.script("exit 1").await?;
    first.exited().await?;
    let mut config = first.config.clone();
    config.metadata.get_or_insert_default().attempt = 1;
    let second = pod.create_exactly(config).await?;
    second.start().await?;
    equal("containers of the pod", pod.containers().await?.len(), 2)
}

async fn name_in_two_pods(t: Test) -> Outcome {
    let (one, two) = (t.pod().await?, t.pod().await?);
    let container = one.idle().await?;
    two.create_exactly(container.config.clone()).await?.start().await?;
    Ok(())
}

async fn missing_image(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let mut config = pod.container_config();
    config.image.get_or_insert_default().image = "registry.k8s.io/no/such-image:1".to_owned();
    let result = pod.create_unpulled(config).await.map(drop);
    let error = refused_with("CreateContainer", result, &[Code::NotFound])?;
    contains("the error", error.status.message(), "no/such-image")?;
    equal("containers of the pod", pod.containers().await?, vec![])
}

async fn no_metadata(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let result = pod.create(|c| c.metadata = None).await.map(drop);
    refused("CreateContainer without metadata", result).map(drop)
}

async fn filters(t: Test) -> Outcome {
    let (pod, other_pod) = (t.pod().await?, t.pod().await?);
    let mark = t.unique("mark");
    let labelled = |c: &mut ContainerConfig| c.labels = map(&[("mark", &mark)]);
    let made = pod.create(labelled).await?;
    let running = pod.start(labelled).await?;
    let other = other_pod.start(labelled).await?;
    let state = |s: ContainerState| Some(ContainerStateValue { state: s.into() });
    let (created_state, running_state) =
        (state(ContainerState::ContainerCreated), state(ContainerState::ContainerRunning));
    let prefix = running.id.get(..13).unwrap_or_default();
    let ids = [made.id.as_str(), running.id.as_str(), other.id.as_str()];
    let [m, r, o] = ids;
    for (id, state, pod_id, wanted) in [
        ("", None, "", vec![m, r, o]),
        ("", None, pod.id.as_str(), vec![m, r]),
        ("", running_state, "", vec![r, o]),
        ("", running_state, &pod.id, vec![r]),
        ("", created_state, &pod.id, vec![m]),
        (r, created_state, "", vec![]),
        (r, None, &other_pod.id, vec![]),
        (r, running_state, &pod.id, vec![r]),
        (prefix, running_state, "", vec![r]),
        ("", None, pod.id.get(..13).unwrap_or_default(), vec![m, r]),
    ] {
        let filter = ContainerFilter {
            id: id.to_owned(),
            state,
            pod_sandbox_id: pod_id.to_owned(),
            label_selector: map(&[("mark", &mark)]),
        };
        let what = format!("ListContainers by {filter:?}");
        let request = ListContainersRequest { filter: Some(filter) };
        let answer = t.cri().list_containers(request).await?.containers;
        let mut came: Vec<_> = answer.iter().map(|c| c.id.as_str()).collect();
        let mut wanted = wanted;
        came.sort_unstable();
        wanted.sort_unstable();
        equal(&what, came, wanted)?;
    }
    Ok(())
}

async fn prefix(t: Test) -> Outcome {
    let mut container = t.pod().await?.idle().await?;
    let full = container.id.clone();
    container.id = full.get(..13).unwrap_or(&full).to_owned();
    equal("ContainerStatus.id", container.status().await?.id, full)?;
    equal("ExecSync by prefix", container.sh("echo ok").await?, "ok")
}

async fn times(t: Test) -> Outcome {
    let before = now_ns();
    let container = t.pod().await?.create(|c| c.script("sleep 0.2")).await?;
    let created = container.status().await?;
    so("created_at is now", (before..=now_ns()).contains(&created.created_at), &created)?;
    equal("started_at of a created container", created.started_at, 0)?;
    equal("finished_at of a created container", created.finished_at, 0)?;
    container.start().await?;
    let exited = container.exited().await?;
    let now = now_ns();
    let order = [before, exited.created_at, exited.started_at, exited.finished_at, now];
    so("created ≤ started ≤ finished ≤ now", order.is_sorted(), order)
}

async fn verbose(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let request = |verbose| ContainerStatusRequest { container_id: container.id.clone(), verbose };
    let plain = t.cri().container_status(request(false)).await?.info;
    so("plain ContainerStatus has no info", plain.is_empty(), plain)?;
    json_info(&t.cri().container_status(request(true)).await?.info)
}

async fn image_names(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let image = t.image_status(images::BUSYBOX).await?.context("ImageStatus: image is unset")?;
    let status = container.status().await?;
    equal("ContainerStatus.image.image", status.image.unwrap_or_default().image, images::BUSYBOX)?;
    let known = image.repo_digests.contains(&status.image_ref);
    so(&format!("ContainerStatus.image_ref in {:?}", image.repo_digests), known, status.image_ref)?;
    equal("ContainerStatus.image_id", status.image_id, image.id)
}

async fn no_stdin(t: Test) -> Outcome {
    let container = t.pod().await?.script("cat; echo end").await?;
    equal("output", container.output().await?, vec!["end"])
}

async fn open_stdin(t: Test) -> Outcome {
    let container = t
        .pod()
        .await?
        .start(|c| {
            c.script("cat; echo end");
            c.stdin = true;
        })
        .await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let status = container.status().await?;
    equal("ContainerStatus.state", status.state(), ContainerState::ContainerRunning)
}

async fn no_log_path(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let container = pod
        .start(|c| {
            c.log_path.clear();
            c.script("seq 1 100000; exit 6");
        })
        .await?;
    equal("ContainerStatus.exit_code", container.exited().await?.exit_code, 6)
}

async fn list_stats(
    t: &Test,
    filter: Option<ContainerStatsFilter>,
) -> anyhow::Result<Vec<ContainerStats>> {
    Ok(t.cri().list_container_stats(ListContainerStatsRequest { filter }).await?.stats)
}

/// The stats name the container and say when they were taken.
fn is_measured(stats: &ContainerStats, name: &str) -> Outcome {
    let attributes = stats.attributes.clone().unwrap_or_default();
    let metadata = attributes.metadata.unwrap_or_default();
    so("attributes.id is set", !attributes.id.is_empty(), stats)?;
    equal("attributes.metadata.name", metadata.name.as_str(), name)?;
    so("cpu.timestamp is set", stats.cpu.is_some_and(|c| c.timestamp > 0), stats)?;
    so("memory.timestamp is set", stats.memory.is_some_and(|m| m.timestamp > 0), stats)
}

async fn stats(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    is_measured(&container.stats().await?, &container.name())
}

async fn stats_listed(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let filter = ContainerStatsFilter { id: container.id.clone(), ..Default::default() };
    let stats = list_stats(&t, Some(filter)).await?;
    equal("entries in ListContainerStats by id", stats.len(), 1)?;
    is_measured(&stats[0], &container.name())
}

async fn stats_unfiltered(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let containers = [pod.idle().await?, pod.idle().await?, pod.idle().await?];
    for filter in [None, Some(ContainerStatsFilter::default())] {
        let all = list_stats(&t, filter).await?;
        for container in &containers {
            let id = &container.id;
            let found = all.iter().find(|s| s.attributes.as_ref().is_some_and(|a| &a.id == id));
            let found = found.with_context(|| format!("ListContainerStats does not hold {id}"))?;
            is_measured(found, &container.name())?;
        }
    }
    Ok(())
}

async fn stats_by_labels(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let mark = t.unique("mark");
    let wanted = pod.start(|c| c.labels = map(&[("mark", &mark), ("a", "b")])).await?;
    pod.start(|c| c.labels = map(&[("mark", "other")])).await?;
    let label_selector = map(&[("mark", &mark)]);
    let filter = ContainerStatsFilter { label_selector, ..Default::default() };
    let stats = list_stats(&t, Some(filter)).await?;
    let ids: Vec<_> = stats.into_iter().filter_map(|s| s.attributes).map(|a| a.id).collect();
    equal("ListContainerStats by label", ids, vec![wanted.id])
}

async fn stats_advance(t: Test) -> Outcome {
    let container = t.pod().await?.script("while :; do :; done").await?;
    let cpu = |s: ContainerStats| s.cpu.context("ContainerStats.cpu is unset");
    let usage = |c: &CpuUsage| c.usage_core_nano_seconds.unwrap_or_default().value;
    let first = cpu(container.stats().await?)?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let second = cpu(container.stats().await?)?;
    so("cpu.timestamp grows", second.timestamp > first.timestamp, (&first, &second))?;
    so("cpu usage grows", usage(&second) > usage(&first), (&first, &second))
}

async fn stats_unknown(t: Test) -> Outcome {
    let request = ContainerStatsRequest { container_id: "f".repeat(64) };
    let result = t.cri().container_stats(request).await;
    refused_with("ContainerStats", result, &[Code::NotFound]).map(drop)
}

async fn stats_memory(t: Test) -> Outcome {
    const LIMIT: u64 = 64 << 20;
    let container =
        t.pod().await?.start(|c| c.resources().memory_limit_in_bytes = LIMIT.cast_signed()).await?;
    let memory = container.stats().await?.memory.context("ContainerStats.memory is unset")?;
    let value = |v: Option<UInt64Value>| v.unwrap_or_default().value;
    let working_set = value(memory.working_set_bytes);
    so("0 < working_set < limit", (1..LIMIT).contains(&working_set), memory)?;
    so("usage ≥ working set", value(memory.usage_bytes) >= working_set, memory)?;
    let available = value(memory.available_bytes);
    so("available + working set = limit", available + working_set == LIMIT, memory)
}

async fn writable_layer(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let layer = |s: ContainerStats| s.writable_layer.context("writable_layer is unset");
    let used = |l: &FilesystemUsage| l.used_bytes.unwrap_or_default().value;
    container.sh("dd if=/dev/urandom of=/big bs=1M count=8 2>/dev/null && sync").await?;
    crate::want::within(Duration::from_secs(30), "writable_layer.used_bytes ≥ 8 MiB", || async {
        let layer = layer(container.stats().await?)?;
        let grown = used(&layer) >= 8 << 20;
        Ok(if grown { Ok(()) } else { Err(format!("{layer:?}")) })
    })
    .await
}
