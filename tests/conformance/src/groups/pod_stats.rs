// SPDX-License-Identifier: Apache-2.0
//! Statistics of pods, and metrics.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use crisp_cri::*;
use tonic::Code;

use crate::case::{Outcome, cases, skip};
use crate::cri::CallError;
use crate::edit::{EditContainer as _, map};
use crate::fixture::Test;
use crate::pod::Pod;
use crate::want::{equal, refused_with, so, within};

cases! { "stats";
    "PodSandboxStats names the pod and has CPU and memory" => pod,
    "PodSandboxStats counts the network's bytes" => network,
    "PodSandboxStats counts processes" => processes,
    "PodSandboxStats lists the pod's containers" => containers,
    "PodSandboxStats of an unknown pod is NOT_FOUND" => unknown,
    "ListPodSandboxStats lists running pods" [alone] => listed,
    "ListPodSandboxStats filters by id and labels" => filtered,
    "PodSandboxStats advances between two reads" => advance,
    "ListMetricDescriptors describes the kubelet's metrics" => descriptors,
    "ListPodSandboxMetrics has a sample of each metric" => metrics,
    "pods come and go while stats are listed" [alone] => churn,
}

async fn stats(pod: &Pod) -> Result<PodSandboxStats> {
    let request = PodSandboxStatsRequest { pod_sandbox_id: pod.id.clone() };
    let response = pod.test.cri().pod_sandbox_stats(request).await?;
    response.stats.context("PodSandboxStats: stats is unset")
}

async fn linux(pod: &Pod) -> Result<LinuxPodSandboxStats> {
    stats(pod).await?.linux.context("PodSandboxStats.linux is unset")
}

async fn pod(t: Test) -> Outcome {
    let pod = t.pod_in_cgroup(|p| p.labels = map(&[("a", "b")])).await?;
    pod.idle().await?;
    let stats = stats(&pod).await?;
    let attributes = stats.attributes.context("attributes is unset")?;
    equal("attributes.id", &attributes.id, &pod.id)?;
    equal("attributes.metadata", &attributes.metadata, &pod.config.metadata)?;
    equal("attributes.labels", &attributes.labels, &pod.config.labels)?;
    let linux = stats.linux.context("linux is unset")?;
    let cpu = linux.cpu.context("cpu is unset")?;
    so("cpu.timestamp is set", cpu.timestamp > 0, cpu)?;
    so("cpu usage is set", cpu.usage_core_nano_seconds.is_some_and(|v| v.value > 0), cpu)?;
    let memory = linux.memory.context("memory is unset")?;
    so("memory.timestamp is set", memory.timestamp > 0, memory)?;
    so("memory is used", memory.working_set_bytes.is_some_and(|v| v.value > 0), memory)
}

async fn network(t: Test) -> Outcome {
    let pod = t.pod_in_cgroup(|_| ()).await?;
    pod.idle().await?.sh("ping -c 2 -W 1 10.255.255.1; true").await?;
    let network = linux(&pod).await?.network.context("network is unset")?;
    so("network.timestamp is set", network.timestamp > 0, &network)?;
    let interface = network.default_interface.context("default_interface is unset")?;
    so("the interface has a name", !interface.name.is_empty(), &interface)?;
    so("bytes were sent", interface.tx_bytes.is_some_and(|v| v.value > 0), &interface)?;
    so("rx_bytes is set", interface.rx_bytes.is_some(), &interface)
}

async fn processes(t: Test) -> Outcome {
    let pod = t.pod_in_cgroup(|_| ()).await?;
    pod.script("sleep 3600 & sleep 3600 & sleep 3600; true").await?;
    within(Duration::from_secs(10), "process_count ≥ 4", || async {
        let process = linux(&pod).await?.process.context("process is unset")?;
        let count = process.process_count.unwrap_or_default().value;
        Ok(if count >= 4 { Ok(()) } else { Err(count.to_string()) })
    })
    .await
}

async fn containers(t: Test) -> Outcome {
    let pod = t.pod_in_cgroup(|_| ()).await?;
    let wanted: BTreeSet<_> = [pod.idle().await?.id, pod.idle().await?.id].into();
    let stats = linux(&pod).await?.containers;
    let came: BTreeSet<_> = stats.into_iter().filter_map(|c| c.attributes).map(|a| a.id).collect();
    equal("ids of the containers", came, wanted)
}

async fn unknown(t: Test) -> Outcome {
    let request = PodSandboxStatsRequest { pod_sandbox_id: "f".repeat(64) };
    let result = t.cri().pod_sandbox_stats(request).await;
    refused_with("PodSandboxStats", result, &[Code::NotFound]).map(drop)
}

async fn list(
    t: &Test,
    filter: Option<PodSandboxStatsFilter>,
) -> Result<BTreeSet<String>, CallError> {
    let stats = t.cri().list_pod_sandbox_stats(ListPodSandboxStatsRequest { filter }).await?.stats;
    Ok(stats.into_iter().filter_map(|s| s.attributes).map(|a| a.id).collect())
}

async fn listed(t: Test) -> Outcome {
    let (one, two) = (t.pod_in_cgroup(|_| ()).await?, t.pod_in_cgroup(|_| ()).await?);
    for filter in [None, Some(PodSandboxStatsFilter::default())] {
        let ids = list(&t, filter).await?;
        so("both pods are listed", ids.contains(&one.id) && ids.contains(&two.id), ids)?;
    }
    Ok(())
}

async fn filtered(t: Test) -> Outcome {
    let mark = t.unique("mark");
    let labels = map(&[("mark", &mark)]);
    let one = t.pod_in_cgroup(|p| p.labels = labels.clone()).await?;
    let two = t.pod_in_cgroup(|p| p.labels = labels.clone()).await?;
    let filter = |id: &str, label_selector| {
        Some(PodSandboxStatsFilter { id: id.to_owned(), label_selector })
    };
    let both: BTreeSet<_> = [one.id.clone(), two.id.clone()].into();
    let only_one: BTreeSet<_> = [one.id.clone()].into();
    equal("by labels", list(&t, filter("", labels.clone())).await?, both)?;
    equal("by id", list(&t, filter(&one.id, map(&[]))).await?, only_one.clone())?;
    equal("by id and labels", list(&t, filter(&one.id, labels)).await?, only_one)?;
    let none = list(&t, filter(&one.id, map(&[("mark", "other")]))).await?;
    equal("by id and other labels", none, BTreeSet::new())
}

async fn advance(t: Test) -> Outcome {
    let pod = t.pod_in_cgroup(|_| ()).await?;
    pod.script("while :; do :; done").await?;
    let cpu = || async { linux(&pod).await?.cpu.context("cpu is unset") };
    let first = cpu().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let second = cpu().await?;
    so("cpu.timestamp grows", second.timestamp > first.timestamp, (&first, &second))?;
    let usage = |c: &CpuUsage| c.usage_core_nano_seconds.unwrap_or_default().value;
    so("cpu usage grows", usage(&second) > usage(&first), (&first, &second))
}

async fn churn(t: Test) -> Outcome {
    let lives = async {
        for _ in 0..4 {
            let pod = t.pod_in_cgroup(|_| ()).await?;
            pod.idle().await?;
            pod.remove().await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    let lists = async {
        for _ in 0..60 {
            list(&t, None).await?;
            t.cri().list_container_stats(ListContainerStatsRequest::default()).await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    let (lives, lists) = tokio::join!(lives, lists);
    lives.and(lists)
}

/// Metrics of the kubelet's endpoint that every runtime has to give, without `container_`.
const METRICS: &str = "cpu_cfs_periods_total cpu_cfs_throttled_periods_total \
    cpu_cfs_throttled_seconds_total cpu_system_seconds_total cpu_usage_seconds_total \
    cpu_user_seconds_total file_descriptors fs_inodes_free fs_inodes_total fs_limit_bytes \
    fs_usage_bytes last_seen memory_cache memory_failcnt memory_failures_total \
    memory_kernel_usage memory_mapped_file memory_max_usage_bytes memory_rss memory_swap \
    memory_usage_bytes memory_working_set_bytes network_receive_bytes_total \
    network_receive_errors_total network_receive_packets_total \
    network_receive_packets_dropped_total network_transmit_bytes_total \
    network_transmit_errors_total network_transmit_packets_total \
    network_transmit_packets_dropped_total oom_events_total processes sockets spec_cpu_period \
    spec_cpu_shares spec_memory_limit_bytes spec_memory_swap_limit_bytes start_time_seconds \
    threads threads_max";
/// These must be described, but may have no sample.
const DESCRIBED: &str = "blkio_device_usage_total fs_reads_bytes_total fs_reads_total \
    fs_writes_bytes_total fs_writes_total";
/// These may be described and have no sample: they depend on the host.
const EXCUSED: &str = "hugetlb_max_usage_bytes hugetlb_usage_bytes \
    pressure_cpu_stalled_seconds_total pressure_cpu_waiting_seconds_total \
    pressure_io_stalled_seconds_total pressure_io_waiting_seconds_total \
    pressure_memory_stalled_seconds_total pressure_memory_waiting_seconds_total spec_cpu_quota \
    spec_memory_reservation_limit_bytes ulimits_soft";

fn names(list: &str) -> BTreeSet<String> {
    list.split_whitespace().map(|name| format!("container_{name}")).collect()
}

async fn describe(t: &Test) -> Result<Vec<MetricDescriptor>> {
    match t.cri().list_metric_descriptors(ListMetricDescriptorsRequest {}).await {
        Ok(response) => Ok(response.descriptors),
        Err(error) if error.code() == Code::Unimplemented => {
            skip("ListMetricDescriptors is not implemented")
        }
        Err(error) => Err(error.into()),
    }
}

async fn descriptors(t: Test) -> Outcome {
    let descriptors = describe(&t).await?;
    let known: BTreeSet<_> = descriptors.iter().map(|d| d.name.clone()).collect();
    let wanted: BTreeSet<_> = names(METRICS).union(&names(DESCRIBED)).cloned().collect();
    let missing: Vec<_> = wanted.difference(&known).collect();
    so("no metric is missing", missing.is_empty(), missing)?;
    for descriptor in &descriptors {
        so("every descriptor has a help text", !descriptor.help.is_empty(), descriptor)?;
        so("every descriptor has a label key", !descriptor.label_keys.is_empty(), descriptor)?;
    }
    Ok(())
}

async fn metrics(t: Test) -> Outcome {
    let descriptors = describe(&t).await?;
    let pod = t.pod_in_cgroup(|_| ()).await?;
    let edit = |c: &mut ContainerConfig| {
        let resources = c.resources();
        resources.cpu_period = 100_000;
        resources.cpu_quota = 20_000;
        resources.cpu_shares = 1024;
        resources.memory_limit_in_bytes = 64 << 20;
        resources.memory_swap_limit_in_bytes = 64 << 20;
    };
    pod.start(edit).await?;
    let excused: BTreeSet<_> = names(DESCRIBED).union(&names(EXCUSED)).cloned().collect();
    // Runtimes may gather samples now and then.
    within(Duration::from_secs(30), "every metric has a sample", || async {
        let samples = samples(&t, &pod).await?;
        let sampled: BTreeSet<_> = samples.iter().map(|m| m.name.clone()).collect();
        let described: BTreeSet<_> = descriptors.iter().map(|d| d.name.clone()).collect();
        let wanted: BTreeSet<_> = described.difference(&excused).cloned().collect();
        let wanted: BTreeSet<_> = wanted.union(&names(METRICS)).cloned().collect();
        let missing: Vec<_> = wanted.difference(&sampled).collect();
        if !missing.is_empty() {
            return Ok(Err(format!("no sample of {missing:?}")));
        }
        for descriptor in &descriptors {
            let Some(sample) = samples.iter().find(|s| s.name == descriptor.name) else { continue };
            ensure!(
                sample.label_values.len() == descriptor.label_keys.len(),
                "{sample:?} does not fit the label keys {:?}",
                descriptor.label_keys
            );
        }
        Ok(Ok(()))
    })
    .await
}

async fn samples(t: &Test, pod: &Pod) -> Result<Vec<Metric>> {
    let all = t.cri().list_pod_sandbox_metrics(ListPodSandboxMetricsRequest {}).await?.pod_metrics;
    let Some(mine) = all.into_iter().find(|p| p.pod_sandbox_id == pod.id) else {
        return Ok(Vec::new());
    };
    let containers = mine.container_metrics.into_iter().flat_map(|c| c.metrics);
    Ok(mine.metrics.into_iter().chain(containers).collect())
}
