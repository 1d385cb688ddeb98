// SPDX-License-Identifier: Apache-2.0
//! Logs do not notice the daemon's end.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{
    log_check::{COUNT_FAST, counts},
    stage::Stage,
};

/// A container that counts as fast as it can, two outages, and rotations before and after.
pub async fn a_log_counts_on_through_outages_and_rotation(stage: &mut Stage) -> Result<()> {
    let pod = stage.test.pod().await?;
    let container = pod.script(COUNT_FAST).await?;
    let log = container.log_file().context("no log")?;
    let mut files = Vec::new();
    for round in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stage.node.kill().await?;
        let before = size(&log)?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let grown = size(&log)? - before;
        ensure!(grown > 0, "nothing was logged while there was no daemon");
        stage.node.start().await?;

        let rotated = log.with_extension(format!("log.{round}"));
        fs::rename(&log, &rotated)?;
        container.reopen_log().await?;
        let before = size(&rotated)?;
        ensure!(log.exists(), "no new log after ReopenContainerLog");
        tokio::time::sleep(Duration::from_millis(200)).await;
        let after = size(&rotated)?;
        ensure!(before == after, "the rotated log grew by {} bytes", after - before);
        files.push(rotated);
    }
    container.stop(0).await?;
    files.push(log);
    // The last line may have been cut by the kill, not by the log.
    let last = drop_torn_end(files.last().context("no file")?)?;
    let lines = counts(&files)?;
    println!("        {lines} lines over 3 outages and rotations, torn by the kill itself: {last}");
    ensure!(lines > 10_000, "only {lines} lines");
    Ok(())
}

fn size(path: &std::path::Path) -> Result<u64> {
    Ok(fs::metadata(path).with_context(|| path.display().to_string())?.len())
}

/// Removes the record of a line that the container itself did not end: it was killed in the midst
/// of a write. Tells how many.
fn drop_torn_end(path: &std::path::Path) -> Result<usize> {
    let text = fs::read(path)?;
    let text = String::from_utf8(text)?;
    let mut lines: Vec<_> = text.lines().collect();
    let partial = lines.last().is_some_and(|line| line.contains(" stdout P "));
    if partial || lines.len() > 1 {
        // What awk had not yet written of its buffer's last line.
        lines.pop();
    }
    let mut kept = lines.join("\n");
    kept.push('\n');
    fs::write(path, kept)?;
    Ok(usize::from(partial))
}
