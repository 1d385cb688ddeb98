// SPDX-License-Identifier: Apache-2.0
//! The demonstration behind README's first command: a pod on crisp, seen from a client, and what
//! happens to it when the daemon is killed.

mod node;
mod pod;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use node::Node;
use pod::Pod;

/// How long the pod runs without a daemon.
const OUTAGE: Duration = Duration::from_secs(2);
/// The image, in the test registry.
const IMAGE: &str = "crisp/busybox:1";

/// Shows a pod on crisp.
#[derive(Debug, Parser)]
struct Cli {
    /// The installed daemon; its shim lies beside it.
    #[arg(long, value_name = "FILE")]
    crisp: PathBuf,
    /// What `tests/images/registry start` made.
    #[arg(long, value_name = "DIR")]
    registry: PathBuf,
    /// Where everything goes that crisp makes here.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Leave pod and daemon running until Enter or Ctrl-C.
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match show(&Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn step(text: &str) {
    println!("\x1b[1m==>\x1b[0m {text}");
}

async fn show(cli: &Cli) -> Result<()> {
    let mut node = Node::new(&cli.crisp, &cli.registry, &cli.dir)?;
    let shown = show_on(&mut node, cli).await;
    if shown.is_err() {
        eprintln!("the end of the daemon's log, {}:\n{}", node.log().display(), node.log_tail());
    }
    step("Cleaning up");
    let cleaned = node.clean_up().await;
    shown.and(cleaned)
}

async fn show_on(node: &mut Node, cli: &Cli) -> Result<()> {
    step("Starting crisp");
    let took = node.start().await?;
    println!("    {} answers after {} ms", node.version().await?, took.as_millis());

    let image = format!("{}/{IMAGE}", read_word(&cli.registry.join("registry"))?);
    step(&format!("Pulling {image}"));
    println!("    {}", pod::pull(node, &image).await?);

    step("Running a pod");
    let mut pod = Pod::run(node, &image).await?;
    println!("    pod {} has address {}", pod.id, pod.address);
    println!("    GET http://{}/ says: {}", pod.address, pod.page().await?);

    step("Its log");
    pod.wait_for_lines(3).await?;
    for line in pod.log_lines()?.iter().take(3) {
        println!("    {line}");
    }

    step("A command in it");
    println!("    $ uname -nsr; id\n{}", indent(&pod.exec(node, "uname -nsr; id").await?));

    step("kill -9 of the daemon");
    let before = pod.process(node).await?;
    let lines = pod.log_lines()?.len();
    node.kill().await?;
    println!("    the daemon is gone; the container's process {before}");
    tokio::time::sleep(OUTAGE).await;
    let meanwhile = pod.log_lines()?.len() - lines;
    println!("    in {} s without a daemon it logged {meanwhile} lines", OUTAGE.as_secs());
    ensure!(meanwhile > 0, "the container stopped logging when the daemon was killed");

    step("Starting crisp again");
    let took = node.start().await?;
    let after = pod.process(node).await?;
    println!("    answers after {} ms; the container's process {after}", took.as_millis());
    ensure!(before == after, "the container is another process: before, it {before}");
    let log = pod.check_log()?;
    println!("    {} lines, none missing, the longest pause {:.2} s", log.lines, log.longest_pause);

    step("crictl, kubelet");
    println!("{}", indent(&node.advice()));
    if cli.keep {
        step("Left running as KEEP is set; Enter or Ctrl-C ends it");
        wait_for_enter().await;
    }
    Ok(())
}

/// Until a line or, where there is no terminal to write one, a signal.
async fn wait_for_enter() {
    let (sender, entered) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line).is_ok_and(|length| length > 0) {
            // The receiver is gone if a signal came first.
            let _ = sender.send(());
        } else {
            std::mem::forget(sender);
        }
    });
    tokio::select! {
        _ = entered => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

fn read_word(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(text.trim().to_owned())
}

fn indent(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
