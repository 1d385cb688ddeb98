// SPDX-License-Identifier: Apache-2.0
//! Many sessions: at once, and one after the other.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use crisp_conformance::{
    container::Container,
    pod::Pod,
    stream::{Forwarding, Session, Transport},
    want::equal,
};
use tokio::task::JoinSet;

use super::{
    process,
    url::{self, OUTPUT},
};
use crate::{
    proc::{Memory, open_files},
    stage::{Scale, Stage},
};

const AT_ONCE: usize = 200;
const SESSIONS: usize = 1_000;
/// When the daemon has given free memory back after the last call.
const SETTLED: Duration = Duration::from_secs(33);
/// After this a URL that nobody came by is worth nothing.
const UNUSED: Duration = Duration::from_secs(75);
/// As many before the first look: the heaps are as large as eight at once make them.
const BEFORE: usize = 400;
/// Most that the shim may have grown, KiB: pages that its heap had not touched before. A hundred
/// bytes kept of each session would be more.
const SHIM: u64 = 64;
/// Most that the daemon may have grown, KiB: what is in use at an instant, and no more for more
/// sessions.
const DAEMON: u64 = 512;

/// 200 of each kind.
pub async fn hundreds_of_execs_at_once_all_answer(stage: &mut Stage) -> Result<()> {
    let (pod, container) = stage.pod_with_container().await?;
    let began = Instant::now();
    let mut execs = JoinSet::new();
    for number in 0..AT_ONCE {
        let mine = container.clone();
        execs.spawn(async move {
            let came = mine.sh(&format!("sleep 1; echo sync {number}")).await?;
            equal("ExecSync", came, format!("sync {number}"))
        });
        let mine = container.clone();
        execs.spawn(async move { exec(&mine, number).await });
    }
    let mut failed = Vec::new();
    while let Some(done) = execs.join_next().await {
        failed.extend(done?.err().map(|error| format!("{error:#}")));
    }
    ensure!(failed.is_empty(), "{} of {}: {}", failed.len(), 2 * AT_ONCE, failed[0]);
    println!("        {} execs at once in {:.1?}", 2 * AT_ONCE, began.elapsed());
    process::none(&pod, Duration::from_secs(30)).await?;
    process::no_exec(stage, &container, 7654).await
}

async fn exec(container: &Container, number: usize) -> Result<()> {
    let script = format!("echo out {number}; echo err {number} >&2; exit {}", number % 100);
    let url = url::exec(container, &["sh", "-c", &script], OUTPUT).await?;
    let finished = Session::open(&url, wire(number), OUTPUT).await?.finish().await?;
    equal("stdout", finished.stdout.as_slice(), format!("out {number}\n").as_bytes())?;
    equal("stderr", finished.stderr.as_slice(), format!("err {number}\n").as_bytes())?;
    equal("exit code", finished.code(), i64::try_from(number % 100).ok())
}

fn wire(number: usize) -> Transport {
    if number.is_multiple_of(2) { Transport::Spdy } else { Transport::WebSocket }
}

/// Commands, attachments and forwarded ports; a few URLs that nobody comes by.
pub async fn a_thousand_sessions_leave_memory_as_it_was(stage: &mut Stage) -> Result<()> {
    let (pod, container) = stage.pod_with_container().await?;
    let (shim, daemon) = (stage.shim_of(&pod)?, stage.node.pid()?);
    sessions(&pod, &container, BEFORE).await?;
    tokio::time::sleep(SETTLED).await;
    let before = (Memory::of(shim)?, Memory::of(daemon)?);
    let files = (open_files(shim)?, open_files(daemon)?);

    let asked = Instant::now();
    for _ in 0..3 {
        url::exec(&container, &["true"], OUTPUT).await?;
        url::attach(&container, OUTPUT).await?;
        url::forward(&pod).await?;
    }
    let began = Instant::now();
    let rounds = if stage.scale == Scale::Full { 5 } else { 1 };
    for round in 1..=rounds {
        sessions(&pod, &container, SESSIONS).await?;
        let dirty = (Memory::of(shim)?.private_dirty, Memory::of(daemon)?.private_dirty);
        println!("        after {} sessions: {dirty:?} KiB", round * SESSIONS);
    }
    let took = began.elapsed();
    let left = UNUSED.saturating_sub(asked.elapsed());
    process::none(&pod, left.max(Duration::from_secs(20))).await?;
    tokio::time::sleep(SETTLED).await;
    let after = (Memory::of(shim)?, Memory::of(daemon)?);
    println!(
        "        {} sessions in {took:.0?}: private dirty of the shim {} -> {} KiB, \
         of the daemon {} -> {} KiB",
        rounds * SESSIONS,
        before.0.private_dirty,
        after.0.private_dirty,
        before.1.private_dirty,
        after.1.private_dirty
    );
    equal("open files of shim and daemon", (open_files(shim)?, open_files(daemon)?), files)?;
    let grown =
        |before: Memory, after: Memory| after.private_dirty.saturating_sub(before.private_dirty);
    let (shim, daemon) = (grown(before.0, after.0), grown(before.1, after.1));
    ensure!(shim <= SHIM, "the shim grew by {shim} KiB, {SHIM} are allowed");
    ensure!(daemon <= DAEMON, "the daemon grew by {daemon} KiB, {DAEMON} are allowed");
    process::no_exec(stage, &container, 7654).await
}

/// Eight at a time.
async fn sessions(pod: &Pod, container: &Container, count: usize) -> Result<()> {
    let mut running = JoinSet::new();
    for number in 0..count {
        if running.len() == 8
            && let Some(done) = running.join_next().await
        {
            done??;
        }
        let (pod, container) = (pod.clone(), container.clone());
        running.spawn(async move {
            match number % 4 {
                0 | 1 => exec(&container, number / 2).await,
                2 => {
                    let url = url::attach(&container, OUTPUT).await?;
                    Session::open(&url, wire(number / 4), OUTPUT).await.map(drop)
                }
                _ => Forwarding::open(&url::forward(&pod).await?).await.map(drop),
            }
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}
