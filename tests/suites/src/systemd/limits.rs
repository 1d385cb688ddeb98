// SPDX-License-Identifier: Apache-2.0
//! Limits as systemd and the kernel know them.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use crisp_conformance::edit::EditContainer as _;
use crisp_cri::{CgroupDriver, LinuxContainerResources};

use super::{Hands, unit::systemctl};

const MIB: i64 = 1 << 20;

/// The cgroup of a process.
fn cgroup(pid: u32) -> Result<String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    Ok(groups.trim().strip_prefix("0::").context("not on cgroup v2")?.to_owned())
}

/// What is read back on the host of the cgroup that a container is in: memory.max, cpu.max.
fn applied(pid: u32) -> Result<(String, String)> {
    let path = cgroup(pid)?;
    let read = |file: &str| {
        let path = format!("/sys/fs/cgroup{path}/{file}");
        fs::read_to_string(&path).map(|text| text.trim().to_owned()).with_context(|| path.clone())
    };
    Ok((read("memory.max")?, read("cpu.max")?))
}

pub(super) async fn limits_are_systemds_and_outlive_its_reload(hands: &Hands) -> Result<()> {
    let pod = hands.test.pod().await?;
    let container = pod
        .start(|c| {
            let resources = c.resources();
            resources.memory_limit_in_bytes = 64 * MIB;
            resources.cpu_quota = 20_000;
            resources.cpu_period = 100_000;
        })
        .await?;
    let pid = hands.pid(&container).await?;
    let came = applied(pid)?;
    ensure!(came == ((64 * MIB).to_string(), "20000 100000".to_owned()), "made with {came:?}");
    container
        .update(LinuxContainerResources {
            memory_limit_in_bytes: 96 * MIB,
            cpu_quota: 50_000,
            cpu_period: 100_000,
            ..LinuxContainerResources::default()
        })
        .await?;
    // systemd puts every unit's limits in force again.
    systemctl(&["daemon-reload"]).await?;
    let came = applied(pid)?;
    ensure!(came == ((96 * MIB).to_string(), "50000 100000".to_owned()), "resized to {came:?}");
    // crun puts the container one level below its scope and limits that, where systemd has no say.
    let in_scope = cgroup(pid)?.ends_with(".scope");
    if hands.test.suite().cgroup_driver == CgroupDriver::Systemd && in_scope {
        let scope = format!("crisp-{}.scope", container.id);
        let max = systemctl(&["show", "--property=MemoryMax", "--value", &scope]).await?;
        ensure!(max == (96 * MIB).to_string(), "systemd knows MemoryMax {max} of {scope}");
    }
    Ok(())
}

pub(super) async fn containers_do_not_see_the_units_sockets(hands: &Hands) -> Result<()> {
    let pod = hands.test.pod().await?;
    let container = pod.script("env; cat /proc/self/mountinfo; echo end; sleep 600").await?;
    container.logged("end").await?;
    let seen = container.out()?;
    let wrong: Vec<_> = seen
        .iter()
        .filter(|line| {
            ["NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_", "notify"].iter().any(|w| line.contains(w))
        })
        .collect();
    ensure!(wrong.is_empty(), "the daemon's unit shows in a container: {wrong:?}");
    Ok(())
}
