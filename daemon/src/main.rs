// SPDX-License-Identifier: Apache-2.0
//! crisp: the daemon and the operator's tools.

use std::process::ExitCode;

use clap::Parser;
use crisp::cli;

fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crisp: {error:#}");
            ExitCode::FAILURE
        }
    }
}
