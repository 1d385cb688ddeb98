// SPDX-License-Identifier: Apache-2.0
//! Sysctls of a pod.

use crate::case::{Outcome, cases};
use crate::edit::{EditPod as _, map};
use crate::fixture::Test;
use crate::want::{contains, equal, refused, so};

cases! { "sysctl";
    "safe sysctls are set" => safe,
    "unsafe sysctls are set" => unsafe_ones,
    "network sysctls are set in the pod alone" => network,
    "an unknown sysctl is refused and leaves no pod" => unknown,
}

async fn safe(t: Test) -> Outcome {
    let sysctls =
        map(&[("kernel.shm_rmid_forced", "1"), ("net.ipv4.ip_local_port_range", "1024 65000")]);
    let container = t.pod_with(|p| p.linux().sysctls = sysctls).await?.idle().await?;
    equal("shm_rmid_forced", container.sh("cat /proc/sys/kernel/shm_rmid_forced").await?, "1")?;
    let range = container.sh("cat /proc/sys/net/ipv4/ip_local_port_range").await?;
    equal("ip_local_port_range", range.replace('\t', " "), "1024 65000")
}

async fn unsafe_ones(t: Test) -> Outcome {
    let sysctls = map(&[("fs.mqueue.msg_max", "100")]);
    let container = t.pod_with(|p| p.linux().sysctls = sysctls).await?.idle().await?;
    equal("msg_max", container.sh("cat /proc/sys/fs/mqueue/msg_max").await?, "100")
}

async fn network(t: Test) -> Outcome {
    let path = "/proc/sys/net/core/somaxconn";
    let host = std::fs::read_to_string(path)?;
    let sysctls = map(&[("net.core.somaxconn", "1234")]);
    let container = t.pod_with(|p| p.linux().sysctls = sysctls).await?.idle().await?;
    equal("somaxconn in the pod", container.sh(&format!("cat {path}")).await?, "1234")?;
    equal("somaxconn on the host", std::fs::read_to_string(path)?, host)
}

async fn unknown(t: Test) -> Outcome {
    let mut config = t.pod_config()?;
    config.linux().sysctls = map(&[("net.no_such_sysctl", "1")]);
    let error = refused("RunPodSandbox", t.run_pod(config.clone()).await)?;
    let message = error.status.message().to_owned();
    so("the error names the sysctl", message.contains("no_such_sysctl"), &message)?;
    contains("the error", &message, "no_such_sysctl")?;
    config.linux().sysctls.clear();
    t.run_pod(config).await?;
    Ok(())
}
