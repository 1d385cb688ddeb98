// SPDX-License-Identifier: Apache-2.0

use anyhow::{Result, ensure};
use tokio::process::Command;

use super::plugin::program;
use crate::stage::Stage;

/// Every field, number and type of our proto file is the stub's.
pub async fn the_protocol_is_the_published_one(stage: &mut Stage) -> Result<()> {
    let printed = Command::new(program(&stage.node)).arg("-shape").output().await?;
    let published = String::from_utf8(printed.stdout)?;
    let published: Vec<_> = published.lines().map(str::to_owned).collect();
    let ours = crisp_nri::shape();
    let without = |all: &[String], other: &[String]| -> Vec<String> {
        all.iter().filter(|line| !other.contains(line)).cloned().collect()
    };
    let (missing, extra) = (without(&published, &ours), without(&ours, &published));
    ensure!(!published.is_empty(), "the stub's protocol has no shape");
    ensure!(missing.is_empty(), "not in our proto: {missing:#?}");
    ensure!(extra.is_empty(), "only in our proto: {extra:#?}");
    Ok(())
}
