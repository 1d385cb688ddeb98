// SPDX-License-Identifier: Apache-2.0
//! Logs under load.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use crisp_conformance::want::equal;

use crate::{log_check::holds, stage::Stage};

const LINES: u64 = 2_000_000;
/// With its end, 100 bytes.
const PAD: usize = 89;

/// Two million lines of 100 bytes: none lost, split or moved.
pub async fn two_hundred_megabytes_lose_no_line(stage: &mut Stage) -> Result<()> {
    let pod = stage.test.pod().await?;
    let pad = "x".repeat(PAD);
    let script =
        format!("exec awk 'BEGIN {{ for (n = 0; n < {LINES}; n++) printf \"%09d {pad}\\n\", n }}'");
    let container = pod.create(|c| {
        c.command = ["sh", "-c", &script].map(String::from).to_vec();
    });
    let container = container.await?;
    let began = Instant::now();
    container.start().await?;
    let status = container.exited_within(Duration::from_secs(240)).await?;
    let took = began.elapsed();
    equal("exit code of the writer", status.exit_code, 0)?;
    let log = container.log_file().context("no log")?;
    let size = std::fs::metadata(&log)?.len();
    let lines = holds(&[log], |wanted, n| {
        use std::fmt::Write as _;
        // A string takes whatever is written.
        let _ = write!(wanted, "{n:09} {pad}");
    })?;
    println!(
        "        {lines} lines, 200 MB in {took:.1?}: {:.0} MB/s ({} MB on disk)",
        200.0 / took.as_secs_f64(),
        size / 1_000_000
    );
    equal("lines", lines, LINES)
}
