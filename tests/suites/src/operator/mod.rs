// SPDX-License-Identifier: Apache-2.0
//! What an operator has in hand: `crisp status`, metrics, logs, `crisp check`.

mod check;
mod logs;
mod metrics;
mod status;

use anyhow::{Context as _, Result};
use tokio::process::Command;

use crate::{
    cases,
    node::Node,
    stage::{Case, Stage},
};

/// The cases.
pub const CASES: &[Case] = cases![
    status::status_tells_of_pods_shims_and_images,
    status::status_of_a_dead_daemon_is_read_from_its_records,
    status::a_step_that_hangs_is_shown_with_its_limit with crate::faults::hung_plugin,
    metrics::a_scrape_tells_what_happened with metrics::enabled,
    metrics::a_taken_port_costs_the_metrics_alone with metrics::on_a_port,
    check::a_damaged_store_is_found_out_and_mended,
    check::a_broken_layer_in_use_is_left_to_its_container,
    logs::each_line_of_a_pods_life_names_it with logs::as_json,
];

/// What a run of `crisp` said and how it ended.
struct Said {
    out: String,
    err: String,
    success: bool,
}

/// Runs `crisp` with `args`.
async fn crisp(node: &Node, args: &[&str]) -> Result<Said> {
    let mut command = Command::new(&node.parts().crisp);
    let output = command.args(args).output().await.context("cannot run crisp")?;
    Ok(Said {
        out: String::from_utf8(output.stdout)?,
        err: String::from_utf8(output.stderr)?,
        success: output.status.success(),
    })
}

/// Runs `crisp status` with `more` arguments on the stage's node.
async fn status(stage: &Stage, more: &[&str]) -> Result<Said> {
    let config = stage.node.config().display().to_string();
    let mut args = vec!["status", "--config", &config];
    args.extend(more);
    crisp(&stage.node, &args).await
}

/// `crisp status --json`.
async fn report(stage: &Stage) -> Result<serde_json::Value> {
    let said = status(stage, &["--json"]).await?;
    serde_json::from_str(&said.out)
        .with_context(|| format!("no JSON: {:?}, errors: {:?}", said.out, said.err))
}
