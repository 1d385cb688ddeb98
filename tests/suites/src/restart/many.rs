// SPDX-License-Identifier: Apache-2.0
//! A full node comes back.

use std::time::{Duration, Instant};

use anyhow::Result;
use crisp_conformance::want::{equal, so};

use crate::stage::Stage;

const PODS: usize = 50;
/// Longest time from the start of the daemon until all pods are listed.
const LIMIT: Duration = Duration::from_secs(5);

/// From the start to a list of all, in a time that is printed.
pub async fn fifty_pods_are_listed_soon_after_the_start(stage: &mut Stage) -> Result<()> {
    let mut pods = Vec::new();
    let began = Instant::now();
    for _ in 0..PODS {
        pods.push(stage.test.pod().await?);
    }
    let made = began.elapsed();
    for pod in &pods[..10] {
        pod.idle().await?;
    }
    stage.node.kill().await?;
    let began = Instant::now();
    stage.node.start().await?;
    let listed = stage.pods().await?;
    let took = began.elapsed();
    println!("        {PODS} pods made in {made:.1?}, all listed {took:.1?} after the start");
    equal("pods listed", listed.len(), PODS)?;
    so(&format!("all are listed within {LIMIT:?}"), took < LIMIT, took)?;
    let began = Instant::now();
    stage.pods().await?;
    println!("        ListPodSandbox of {PODS} pods: {:.1?}", began.elapsed());
    Ok(())
}
