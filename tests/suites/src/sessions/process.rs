// SPDX-License-Identifier: Apache-2.0
//! The processes of sessions, and what execs leave.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use crisp_conformance::{container::Container, pod::Pod, want::within};

use crate::{
    stage::Stage,
    traces::{all_pids, is_alive},
};

/// How long an end may take to be seen to.
const SOON: Duration = Duration::from_secs(30);

/// Pids of the pod's sessions.
pub fn of(pod: &Pod) -> Vec<u32> {
    let text = |pid: u32, file: &str| {
        fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
    };
    let ours = |pid: &u32| {
        text(*pid, "comm").trim() == "crisp-session"
            && text(*pid, "cgroup").contains(&pod.id)
            && is_alive(*pid)
    };
    all_pids().filter(ours).collect()
}

/// The pod's only session.
pub async fn only(pod: &Pod) -> Result<u32> {
    within(SOON, "the pod's one session", || async {
        let found = of(pod);
        Ok(match found[..] {
            [one] => Ok(one),
            _ => Err(format!("{} sessions", found.len())),
        })
    })
    .await
}

/// Waits until no session of the pod is left.
pub async fn none(pod: &Pod, limit: Duration) -> Result<()> {
    within(limit, "end of the pod's sessions", || async {
        let found = of(pod);
        Ok(if found.is_empty() { Ok(()) } else { Err(format!("pids {found:?}")) })
    })
    .await
}

/// Waits until nothing is left of any exec in the container: no process that sleeps for
/// `seconds`, no pipe, no record.
pub async fn no_exec(stage: &Stage, container: &Container, seconds: u32) -> Result<()> {
    let script = format!("ps -o args | grep -c '^sleep {seconds}' || true");
    within(SOON, "end of the exec's processes", || async {
        let left = container.sh(&script).await?;
        Ok(if left == "0" { Ok(()) } else { Err(format!("{left} are left")) })
    })
    .await?;
    let (bundle, records) =
        (stage.node.run().join("bundles").join(&container.id), stage.node.run().join("sessions"));
    within(SOON, "end of the exec's files", || async {
        let names = |dir: &std::path::Path| -> Result<Vec<String>> {
            let entries = fs::read_dir(dir).with_context(|| dir.display().to_string())?;
            entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
        };
        let mut left: Vec<_> = names(&bundle)?;
        left.retain(|n| n.ends_with("-stdin") || n.ends_with("-stdout") || n.ends_with("-stderr"));
        left.extend(names(&records)?);
        Ok(if left.is_empty() { Ok(()) } else { Err(left.join(", ")) })
    })
    .await
}

/// The session must be in its pod's cgroup, in every hierarchy.
pub fn in_cgroup_of(pid: u32, pod: &Pod) -> Result<()> {
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    // The hierarchies of v1 that carry a controller, and v2: all of them.
    let outside: Vec<_> = cgroup.lines().filter(|line| !line.contains(&pod.id)).collect();
    ensure!(outside.is_empty(), "session {pid} is outside of its pod's cgroup: {outside:?}");
    Ok(())
}
