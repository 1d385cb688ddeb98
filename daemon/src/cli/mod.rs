// SPDX-License-Identifier: Apache-2.0
//! The command line: `crisp daemon` and the operator's tools.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::{CommandFactory, Parser, Subcommand};

use crate::sessions::process;

mod check;
mod config;
mod daemon;
mod status;

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
    /// Show how the daemon, its pods, shims and images fare; with a dead daemon, what is on record.
    Status {
        /// Configuration file of the daemon; its drop-ins are in FILE.d.
        #[arg(long, value_name = "FILE", env = "CRISP_CONFIG")]
        config: Option<PathBuf>,
        /// One JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Compare the image store with its digests; tells what is broken, and which images it breaks.
    Check {
        /// Configuration file of the daemon; its drop-ins are in FILE.d.
        #[arg(long, value_name = "FILE", env = "CRISP_CONFIG")]
        config: Option<PathBuf>,
        /// Take out what is broken and fetch it again by digest. No daemon may use the store.
        #[arg(long)]
        repair: bool,
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
    /// Print completions for a shell.
    #[command(hide = true)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    #[command(hide = true)]
    Man,
}

#[derive(Debug, Subcommand)]
enum ConfigAction {
    /// Check a file with its drop-ins, and the handlers it names; nothing is changed.
    Check {
        /// The file; /etc/crisp/crisp.conf if none is named.
        file: Option<PathBuf>,
    },
    /// Print the crisp configuration that a crio.conf or a containerd config.toml amounts to, and
    /// as comments what of it has no counterpart.
    Import {
        /// The file.
        file: PathBuf,
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
        Command::Config { action: Some(ConfigAction::Import { file }) } => config::import(&file),
        Command::Session => process::run(),
        Command::Status { config, json } => {
            status::run(config, if json { status::Form::Json } else { status::Form::Text })
        }
        Command::Check { config, repair } => {
            check::run(config, if repair { check::Cure::Repair } else { check::Cure::Tell })
        }
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "crisp", &mut text);
            print(&String::from_utf8(text)?)
        }
        Command::Man => {
            let mut text = Vec::new();
            clap_mangen::Man::new(Cli::command()).section("8").render(&mut text)?;
            print(&String::from_utf8(text)?)
        }
        Command::Version => {
            println!("crisp {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // The reader (`crisp config | head`) has seen enough.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}
