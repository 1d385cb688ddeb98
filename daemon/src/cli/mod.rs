// SPDX-License-Identifier: Apache-2.0
//! The command line: `crisp daemon` and the operator's tools.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::sessions::process;

mod config;
mod daemon;

/// A Kubernetes container runtime with one shim process per pod.
#[derive(Debug, Parser)]
#[command(name = "crisp", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve CRI until told to end (SIGTERM). SIGHUP reads the configuration again.
    Daemon {
        /// Configuration file; its drop-ins are in FILE.d.
        #[arg(long, value_name = "FILE", env = "CRISP_CONFIG")]
        config: Option<PathBuf>,
    },
    /// Print the default configuration, or check or show one.
    Config {
        #[command(subcommand)]
        action: Option<ConfigAction>,
    },
    /// Serve one exec, attach or port-forward, as the daemon says.
    #[command(hide = true)]
    Session,
    /// Print the version.
    Version,
}

#[derive(Debug, Subcommand)]
enum ConfigAction {
    /// Check a file with its drop-ins, and the handlers it names; nothing is changed.
    Check {
        /// The file; /etc/crisp/crisp.conf if none is named.
        file: Option<PathBuf>,
    },
    /// Print what is in force with a file, its drop-ins and the defaults together.
    Show {
        /// The file; /etc/crisp/crisp.conf if none is named.
        file: Option<PathBuf>,
    },
}

/// Does what the command line asks for.
///
/// # Errors
/// Whatever kept it from being done, with causes.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Daemon { config } => daemon::run(config),
        Command::Config { action: None } => config::print_default(),
        Command::Config { action: Some(ConfigAction::Check { file }) } => config::check(file),
        Command::Config { action: Some(ConfigAction::Show { file }) } => config::show(file),
        Command::Session => process::run(),
        Command::Version => {
            println!("crisp {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    }
}
