// SPDX-License-Identifier: Apache-2.0
//! Resource limits: set at creation, updated, read back from the cgroup and from status.

use anyhow::Context as _;
use crisp_cri::*;

use crate::case::{Outcome, cases, skip};
use crate::cgroup::is_unified;
use crate::container::Container;
use crate::edit::{EditContainer as _, EditPod as _};
use crate::fixture::Test;
use crate::want::{contains, equal, refused, refused_with, so};

cases! { "resources";
    "memory and CPU limits are in the cgroup" => limits,
    "status reports the resources that were asked" => reported,
    "an update changes the cgroup and status" => update,
    "an update leaves what it does not name" => update_partial,
    "a created container can be updated before it starts" => update_created,
    "an update of an unknown container is NOT_FOUND" => update_unknown,
    "an update of an exited container is refused" => update_exited,
    "an impossible update is refused and changes nothing" => update_impossible,
    "an update raises and lowers memory" => update_memory,
    "cpusets are applied" => cpuset,
    "a cpuset that does not exist is refused" => bad_cpuset,
    "the oom score adjustment is set" => oom_score,
    "the oom score adjustment is 0 by default" => oom_score_default,
    "hugepage limits are applied and reported" => hugepages,
    "unified values are applied on cgroup v2" => unified,
    "containers live below the pod's cgroup, which stays when they go" => pod_cgroup,
    "the container's cgroup is not writable" => cgroup_readonly,
    "UpdatePodSandboxResources of a pod succeeds" => update_pod,
    "UpdatePodSandboxResources of an unknown pod is an error" => update_unknown_pod,
}

const MIB: i64 = 1 << 20;

fn memory_and_cpu(c: &mut ContainerConfig) {
    let resources = c.resources();
    resources.memory_limit_in_bytes = 64 * MIB;
    resources.memory_swap_limit_in_bytes = 64 * MIB;
    resources.cpu_period = 100_000;
    resources.cpu_quota = 20_000;
    resources.cpu_shares = 512;
}

async fn memory_limit(container: &Container) -> anyhow::Result<String> {
    container.cgroup("memory/memory.limit_in_bytes", "memory.max").await
}

/// Quota and period, as cgroup v2 writes them.
async fn cpu_limit(container: &Container) -> anyhow::Result<String> {
    let cpu = "/sys/fs/cgroup/cpu";
    let v1 = format!("echo $(cat {cpu}/cpu.cfs_quota_us) $(cat {cpu}/cpu.cfs_period_us)");
    let v2 = "cat /sys/fs/cgroup/cpu.max";
    let test = "[ -e /sys/fs/cgroup/cgroup.controllers ]";
    container.sh(&format!("if {test}; then {v2}; else {v1}; fi")).await
}

async fn limits(t: Test) -> Outcome {
    let container = t.pod().await?.start(memory_and_cpu).await?;
    equal("memory limit", memory_limit(&container).await?, (64 * MIB).to_string())?;
    equal("CPU quota and period", cpu_limit(&container).await?, "20000 100000")?;
    // 512 shares are weight 20 of 100 by the conversion all runtimes used until 2025, 59 after.
    let weight = container.cgroup("cpu/cpu.shares", "cpu.weight").await?;
    so("CPU shares 512 or their weight", ["512", "20", "59"].contains(&weight.as_str()), &weight)
}

async fn resources(container: &Container) -> anyhow::Result<LinuxContainerResources> {
    let resources = container.status().await?.resources;
    resources.and_then(|r| r.linux).context("ContainerStatus.resources.linux is unset")
}

async fn reported(t: Test) -> Outcome {
    let container = t.pod().await?.start(memory_and_cpu).await?;
    let came = resources(&container).await?;
    equal("memory_limit_in_bytes", came.memory_limit_in_bytes, 64 * MIB)?;
    equal("cpu_period", came.cpu_period, 100_000)?;
    equal("cpu_quota", came.cpu_quota, 20_000)?;
    equal("cpu_shares", came.cpu_shares, 512)
}

async fn update(t: Test) -> Outcome {
    let container = t.pod().await?.start(memory_and_cpu).await?;
    container
        .update(LinuxContainerResources {
            memory_limit_in_bytes: 96 * MIB,
            memory_swap_limit_in_bytes: 96 * MIB,
            cpu_period: 50_000,
            cpu_quota: 30_000,
            cpu_shares: 1024,
            ..Default::default()
        })
        .await?;
    equal("memory limit", memory_limit(&container).await?, (96 * MIB).to_string())?;
    equal("CPU quota and period", cpu_limit(&container).await?, "30000 50000")?;
    let came = resources(&container).await?;
    equal("memory_limit_in_bytes in status", came.memory_limit_in_bytes, 96 * MIB)?;
    equal("cpu_period in status", came.cpu_period, 50_000)?;
    equal("cpu_quota in status", came.cpu_quota, 30_000)?;
    equal("cpu_shares in status", came.cpu_shares, 1024)
}

async fn update_partial(t: Test) -> Outcome {
    let container = t.pod().await?.start(memory_and_cpu).await?;
    let shares = LinuxContainerResources { cpu_shares: 2048, ..Default::default() };
    container.update(shares).await?;
    equal("memory limit", memory_limit(&container).await?, (64 * MIB).to_string())?;
    equal("CPU quota and period", cpu_limit(&container).await?, "20000 100000")?;
    let came = resources(&container).await?;
    equal("cpu_shares in status", came.cpu_shares, 2048)?;
    equal("memory_limit_in_bytes in status", came.memory_limit_in_bytes, 64 * MIB)
}

async fn update_created(t: Test) -> Outcome {
    let container = t.pod().await?.create(memory_and_cpu).await?;
    let memory = LinuxContainerResources {
        memory_limit_in_bytes: 96 * MIB,
        memory_swap_limit_in_bytes: 96 * MIB,
        ..Default::default()
    };
    container.update(memory).await?;
    container.start().await?;
    equal("memory limit", memory_limit(&container).await?, (96 * MIB).to_string())?;
    let came = resources(&container).await?.memory_limit_in_bytes;
    equal("memory_limit_in_bytes in status", came, 96 * MIB)
}

async fn update_unknown(t: Test) -> Outcome {
    let request = UpdateContainerResourcesRequest {
        container_id: "f".repeat(64),
        linux: Some(LinuxContainerResources::default()),
        ..Default::default()
    };
    let result = t.cri().update_container_resources(request).await;
    refused_with("UpdateContainerResources", result, &[tonic::Code::NotFound]).map(drop)
}

async fn update_exited(t: Test) -> Outcome {
    let container = t.pod().await?.script("exit 0").await?;
    container.exited().await?;
    let shares = LinuxContainerResources { cpu_shares: 2048, ..Default::default() };
    refused("UpdateContainerResources", container.update(shares).await).map(drop)
}

async fn update_impossible(t: Test) -> Outcome {
    let container = t.pod().await?.start(memory_and_cpu).await?;
    let before = resources(&container).await?;
    let impossible = LinuxContainerResources {
        cpu_shares: 2048,
        cpuset_cpus: "9999".to_owned(),
        ..Default::default()
    };
    refused("UpdateContainerResources to CPU 9999", container.update(impossible).await)?;
    equal("resources in status", resources(&container).await?, before)
}

async fn update_memory(t: Test) -> Outcome {
    let container = t.pod().await?.start(memory_and_cpu).await?;
    for mib in [128, 48, 64] {
        let memory = LinuxContainerResources {
            memory_limit_in_bytes: mib * MIB,
            memory_swap_limit_in_bytes: mib * MIB,
            ..Default::default()
        };
        container.update(memory).await?;
        equal("memory limit", memory_limit(&container).await?, (mib * MIB).to_string())?;
    }
    Ok(())
}

async fn cpuset(t: Test) -> Outcome {
    let edit = |c: &mut ContainerConfig| {
        c.resources().cpuset_cpus = "0".to_owned();
        c.resources().cpuset_mems = "0".to_owned();
    };
    let container = t.pod().await?.start(edit).await?;
    let allowed = container.sh("grep Cpus_allowed_list /proc/self/status").await?;
    equal("allowed CPUs", allowed.split_whitespace().last(), Some("0"))
}

async fn bad_cpuset(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let edit = |c: &mut ContainerConfig| c.resources().cpuset_cpus = "9999".to_owned();
    let result = async { pod.create(edit).await?.start().await };
    refused("a container on CPU 9999", result.await).map(drop)
}

async fn oom_score(t: Test) -> Outcome {
    let container = t.pod().await?.start(|c| c.resources().oom_score_adj = 987).await?;
    equal("oom_score_adj", container.sh("cat /proc/self/oom_score_adj").await?, "987")
}

async fn oom_score_default(t: Test) -> Outcome {
    let container = t
        .pod()
        .await?
        .start(|c| {
            c.resources();
        })
        .await?;
    // A runtime that may not lower it says so by leaving its own.
    let own: i32 = std::fs::read_to_string("/proc/self/oom_score_adj")?.trim().parse()?;
    let came: i32 = container.sh("cat /proc/self/oom_score_adj").await?.parse()?;
    so("oom_score_adj is 0 or this process's", came == 0 || came == own, came)
}

async fn hugepages(t: Test) -> Outcome {
    if !std::path::Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").is_dir() {
        return skip("the host has no 2 MiB huge pages");
    }
    let limit = HugepageLimit { page_size: "2MB".to_owned(), limit: 4 << 20 };
    let edit = |c: &mut ContainerConfig| c.resources().hugepage_limits.push(limit.clone());
    let container = t.pod().await?.start(edit).await?;
    let v1 = "hugetlb/hugetlb.2MB.limit_in_bytes";
    let came = container.cgroup(v1, "hugetlb.2MB.max").await?;
    equal("huge page limit", came, (4 << 20).to_string())?;
    let reported = resources(&container).await?.hugepage_limits;
    so("status reports the limit", reported.contains(&limit), &reported)
}

async fn unified(t: Test) -> Outcome {
    if !is_unified() {
        return skip("the host has no cgroup v2");
    }
    let edit = |c: &mut ContainerConfig| {
        c.resources().unified.insert("memory.high".to_owned(), (50 * MIB).to_string());
    };
    let container = t.pod().await?.start(edit).await?;
    equal("memory.high", container.cgroup("", "memory.high").await?, (50 * MIB).to_string())
}

async fn pod_cgroup(t: Test) -> Outcome {
    let Some(cgroup) = t.pod_cgroup()? else {
        return skip("pods' cgroups are systemd's");
    };
    let pod = t.pod_with(|p| p.linux().cgroup_parent = cgroup.path()).await?;
    let container = pod.idle().await?;
    so("there are processes below", !cgroup.processes_below()?.is_empty(), &cgroup)?;
    let own = container.sh("cat /proc/self/cgroup").await?;
    so("all in the same cgroup namespace or below it", !own.contains("/../"), own)?;
    container.remove().await?;
    pod.remove().await?;
    let left = cgroup.processes_below()?;
    so("no process is left below", left.is_empty(), left)?;
    so("the pod's cgroup is still there", cgroup.exists()?, &cgroup)
}

async fn cgroup_readonly(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let mounts = container.sh("grep ' /sys/fs/cgroup' /proc/self/mountinfo").await?;
    let script = "if [ -e /sys/fs/cgroup/cgroup.controllers ]; then mkdir /sys/fs/cgroup/mine; \
        else mkdir /sys/fs/cgroup/memory/mine; fi";
    let ran = container.exec(&["sh", "-c", script]).await?;
    so("mkdir in the cgroup fails", ran.code != 0, format!("{ran:?} on {mounts}"))?;
    contains("stderr of mkdir", &ran.stderr, "Read-only file system")
}

async fn update_pod(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let request = UpdatePodSandboxResourcesRequest {
        pod_sandbox_id: pod.id.clone(),
        overhead: Some(LinuxContainerResources::default()),
        resources: Some(LinuxContainerResources { cpu_shares: 2048, ..Default::default() }),
    };
    t.cri().update_pod_sandbox_resources(request).await?;
    equal("the pod", pod.status().await?.state(), PodSandboxState::SandboxReady)
}

async fn update_unknown_pod(t: Test) -> Outcome {
    let request =
        UpdatePodSandboxResourcesRequest { pod_sandbox_id: "f".repeat(64), ..Default::default() };
    let result = t.cri().update_pod_sandbox_resources(request).await;
    refused("UpdatePodSandboxResources", result).map(drop)
}
