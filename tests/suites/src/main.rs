// SPDX-License-Identifier: Apache-2.0
//! The system suites: `crisp-suites
//! restart|faults|sessions|budgets|nri|variants|kubelet|operator|node-report|bench`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use crisp_suites::{
    bench, budgets, faults, kubelet, node_suite, nri, operator, restart, sessions, stage, systemd,
    variants,
};

/// Judges crisp on real parts, each case on a node of its own. Needs root.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Debug, Subcommand)]
enum Suite {
    /// The daemon is killed and comes back.
    Restart(stage::Plan),
    /// What pods depend on fails, hangs or lies.
    Faults(stage::Plan),
    /// Exec, attach and port-forward, when something of them goes away or there are many.
    Sessions(stage::Plan),
    /// What crisp may use, in bytes, threads and time.
    Budgets(stage::Plan),
    /// Plugins hear, adjust, fail and hang.
    Nri(stage::Plan),
    /// Pods of shims that are not crisp's own.
    Variants(stage::Plan),
    /// A real kubelet on crisp, with static pods.
    Kubelet(kubelet::Plan),
    /// What an operator has in hand.
    Operator(stage::Plan),
    /// What Kubernetes' node suite said, as a table.
    NodeReport(node_suite::Plan),
    /// The daemon as a service of systemd, on this host.
    Systemd(systemd::Plan),
    /// Times beside another runtime's, in the same run.
    Bench(bench::Plan),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().suite {
        Suite::Restart(plan) => stage::run(&plan, restart::CASES).await,
        Suite::Faults(plan) => stage::run(&plan, faults::CASES).await,
        Suite::Sessions(plan) => stage::run(&plan, sessions::CASES).await,
        Suite::Budgets(plan) => stage::run(&plan, budgets::CASES).await,
        Suite::Nri(plan) => stage::run(&plan, nri::CASES).await,
        Suite::Variants(plan) => stage::run(&plan, variants::CASES).await,
        Suite::Kubelet(plan) => kubelet::run(&plan).await,
        Suite::Operator(plan) => stage::run(&plan, operator::CASES).await,
        Suite::NodeReport(plan) => node_suite::run(&plan),
        Suite::Systemd(plan) => systemd::run(&plan).await,
        Suite::Bench(plan) => bench::run(&plan).await.map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
