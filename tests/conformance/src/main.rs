// SPDX-License-Identifier: Apache-2.0
//! `crisp-conformance`: judges a CRI endpoint.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use crisp_conformance::{AuthRegistry, Options};

/// Drives a CRI endpoint as a kubelet would, and says where it breaks the contract.
///
/// Must run as root on the endpoint's host, in its mount, network and IPC namespaces. The
/// endpoint must reach the test images (registry.k8s.io, k8s.gcr.io, gcr.io), by mirrors if need
/// be, and pull from plain-HTTP registries on 127.0.0.1.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Address of the runtime service.
    #[arg(long, value_name = "unix://PATH", required_unless_present = "list")]
    endpoint: Option<String>,
    /// Address of the image service, if it is another.
    #[arg(long, value_name = "unix://PATH")]
    image_endpoint: Option<String>,
    /// Runtime handler that pods ask for; the default one if not given.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    handler: String,
    /// Run only cases whose name holds this (a regular expression); may be repeated.
    #[arg(long, value_name = "PATTERN")]
    focus: Vec<String>,
    /// Do not run cases whose name holds this (a regular expression); may be repeated.
    #[arg(long, value_name = "PATTERN")]
    skip: Vec<String>,
    /// Order of the cases; random if not given, and printed.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How many cases run at once.
    #[arg(long, default_value_t = 4, value_name = "N")]
    parallel: usize,
    /// Give each case so many times its time: for machines that are emulated.
    #[arg(long, default_value_t = 1, value_name = "N")]
    patience: u32,
    /// Write the results as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// What this endpoint is known not to pass: lists by name and with reasons, in TOML.
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// A registry that demands basic authentication and holds the test images.
    #[arg(long, value_name = "HOST,USER,PASSWORD", value_parser = auth_registry)]
    auth_registry: Option<AuthRegistry>,
    /// Print the names of the chosen cases and run nothing.
    #[arg(long)]
    list: bool,
}

fn auth_registry(text: &str) -> Result<AuthRegistry, String> {
    let mut parts = text.splitn(3, ',').map(str::to_owned);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(host), Some(user), Some(password)) => Ok(AuthRegistry { host, user, password }),
        _ => Err("expected HOST,USER,PASSWORD".to_owned()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("crisp-conformance: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(cli: Cli) -> Result<bool> {
    if cli.list {
        for name in crisp_conformance::list(&cli.focus, &cli.skip)? {
            println!("{name}");
        }
        return Ok(true);
    }
    let (interrupt, interrupted) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            eprintln!("interrupted: cleaning up");
            let _ = interrupt.send(true);
            // Keeps the channel open: receivers must see the word, not its end.
            std::future::pending::<()>().await;
        }
    });
    let options = Options {
        endpoint: cli.endpoint.unwrap_or_default(),
        image_endpoint: cli.image_endpoint,
        handler: cli.handler,
        focus: cli.focus,
        skip: cli.skip,
        seed: cli.seed.unwrap_or_else(fresh_seed),
        parallel: cli.parallel,
        patience: cli.patience,
        junit: cli.junit,
        expect: cli.expect,
        auth_registry: cli.auth_registry,
    };
    crisp_conformance::run(options, interrupted).await
}

/// A seed that differs from run to run; short, to be typed again.
fn fresh_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| u64::from(d.subsec_nanos()) ^ d.as_secs()) % 1_000_000
}
