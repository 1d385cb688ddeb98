// SPDX-License-Identifier: Apache-2.0
//! What a kubelet asks every second.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::Result;
use crisp_conformance::{
    cri::CallError,
    want::{equal, so},
};
use crisp_cri::{ListContainerStatsRequest, ListContainersRequest, ListPodSandboxRequest};

use crate::{proc::cpu, stage::Stage};

const PODS: usize = 20;
const EACH: usize = 5;
const ALL: usize = PODS * EACH;
const LIMIT: Duration = Duration::from_millis(10);
const CALLS: usize = 31;

/// ListPodSandbox, ListContainers and ListContainerStats with a hundred containers.
pub async fn lists_of_a_full_node_are_quick(stage: &mut Stage) -> Result<()> {
    for _ in 0..PODS {
        let pod = stage.test.pod().await?;
        for _ in 0..EACH {
            pod.idle().await?;
        }
    }
    let cri = stage.cri();
    let pods =
        || async { Ok(cri.list_pod_sandbox(ListPodSandboxRequest::default()).await?.items.len()) };
    let containers = || async {
        Ok(cri.list_containers(ListContainersRequest::default()).await?.containers.len())
    };
    let stats = || async {
        Ok(cri.list_container_stats(ListContainerStatsRequest::default()).await?.stats.len())
    };
    let daemon = stage.node.pid()?;
    quick(daemon, "ListPodSandbox", PODS, pods).await?;
    quick(daemon, "ListContainers", ALL, containers).await?;
    quick(daemon, "ListContainerStats", ALL, stats).await
}

async fn quick<F>(daemon: u32, name: &str, wanted: usize, call: impl Fn() -> F) -> Result<()>
where
    F: Future<Output = Result<usize, CallError>>,
{
    let mut times = Vec::new();
    let before = cpu(daemon)?;
    for _ in 0..CALLS {
        let began = Instant::now();
        let found = call().await?;
        times.push(began.elapsed());
        equal(&format!("entries in {name}"), found, wanted)?;
    }
    let work = (cpu(daemon)? - before) / u32::try_from(CALLS)?;
    times.sort();
    // A busy host makes some of the answers late, and none of them more work.
    let (quickest, median, slowest) = (times[0], times[CALLS / 2], times[CALLS - 1]);
    println!(
        "        {name} of {wanted}: {quickest:.2?}, median {median:.2?}, slowest {slowest:.2?}, \
         {work:.2?} of work"
    );
    so(&format!("{name} of {wanted} is less than {LIMIT:?} of work"), work < LIMIT, work)?;
    so(&format!("{name} of {wanted} takes less than {LIMIT:?}"), quickest < LIMIT, quickest)
}
