// SPDX-License-Identifier: Apache-2.0
//! The shim: paid once per pod.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use crisp_conformance::{container::Container, want::equal};

use crate::{
    proc::{Memory, open_files, switches, threads},
    stage::{Scale, Stage},
};

const PODS: usize = 20;
/// Most that an idle shim with one container may have, KiB.
const PSS: u64 = 400;
/// What it should have, KiB.
const AIM: u64 = 250;
/// When the deadlines of what was done to start the last container have passed.
const SETTLED: Duration = Duration::from_secs(12);
const QUIET: Duration = Duration::from_secs(5);
/// Most that a shim may have grown after thousands of execs, KiB: a page of the stack and one of
/// the heap each way.
const GROWTH: u64 = 16;

/// Twenty alike: memory, threads, wake-ups.
pub async fn idle_shims_are_small_and_sleep(stage: &mut Stage) -> Result<()> {
    for program in [&stage.node.parts().crisp, &stage.node.parts().shim] {
        let size = std::fs::metadata(program)?.len();
        println!("        {}: {:.1} MB", file_name(program), size as f64 / 1e6);
    }
    let mut shims = Vec::new();
    for _ in 0..PODS {
        let (pod, _) = stage.pod_with_container().await?;
        shims.push(stage.shim_of(&pod)?);
    }
    tokio::time::sleep(SETTLED).await;
    let before = each(&shims, switches)?;
    tokio::time::sleep(QUIET).await;
    let after = each(&shims, switches)?;
    let memory = each(&shims, Memory::of)?;
    let pss: Vec<_> = memory.iter().map(|m| m.pss).collect();
    let dirty: Vec<_> = memory.iter().map(|m| m.private_dirty).collect();
    println!(
        "        {PODS} idle shims: PSS mean {} most {} KiB (aim {AIM}, budget {PSS}), \
         private dirty mean {} most {} KiB",
        mean(&pss),
        most(&pss),
        mean(&dirty),
        most(&dirty)
    );
    equal("threads of each shim", each(&shims, threads)?, vec![1; PODS])?;
    equal(&format!("times that shims woke up in {QUIET:?}"), &after, &before)?;
    ensure!(most(&pss) <= PSS, "a shim has a PSS of {} KiB, {PSS} are allowed", most(&pss));
    Ok(())
}

/// Memory and files before and after thousands of execs.
pub async fn execs_leave_a_shim_as_it_was(stage: &mut Stage) -> Result<()> {
    let count = if stage.scale == Scale::Full { 10_000 } else { 2_000 };
    let (pod, container) = stage.pod_with_container().await?;
    let shim = stage.shim_of(&pod)?;
    // So much at once is the most the heap has to hold.
    execs(&container, 400).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (memory, files) = (Memory::of(shim)?, open_files(shim)?);
    let began = Instant::now();
    execs(&container, count).await?;
    let took = began.elapsed();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = Memory::of(shim)?;
    println!(
        "        {count} execs, {:.1} ms each with four at once: private dirty {} -> {} KiB",
        took.as_secs_f64() * 1e3 / f64::from(count),
        memory.private_dirty,
        after.private_dirty
    );
    equal("open files of the shim", open_files(shim)?, files)?;
    let growth = after.private_dirty.saturating_sub(memory.private_dirty);
    ensure!(growth <= GROWTH, "the shim grew by {growth} KiB over {count} execs");
    Ok(())
}

/// Four at a time.
async fn execs(container: &Container, count: u32) -> Result<()> {
    for _ in 0..count / 4 {
        let one = || container.exec(&["true"]);
        let ended = tokio::join!(one(), one(), one(), one());
        for ran in [ended.0, ended.1, ended.2, ended.3] {
            equal("exit code of an exec", ran?.code, 0)?;
        }
    }
    Ok(())
}

fn each<T>(pids: &[u32], measure: impl Fn(u32) -> Result<T>) -> Result<Vec<T>> {
    pids.iter().map(|pid| measure(*pid)).collect()
}

fn mean(numbers: &[u64]) -> u64 {
    numbers.iter().sum::<u64>() / (numbers.len() as u64).max(1)
}

fn most(numbers: &[u64]) -> u64 {
    numbers.iter().copied().max().unwrap_or(0)
}

fn file_name(path: &std::path::Path) -> String {
    path.file_name()
        .context("no name")
        .map_or_else(|e| e.to_string(), |n| n.to_string_lossy().into_owned())
}
