// SPDX-License-Identifier: Apache-2.0
//! What the binary does when it is called, one file per verb.

mod delete;
mod dialect;
mod info;
mod io;
mod make_namespaces;
mod print_init;
mod serve;
mod start;

use std::{error::Error, io::Write, process::ExitCode};

use self::start::Server;
use crate::flags::{Flags, Verb};

/// Any verb's failure: told on stderr, with exit status 1.
type Failed = Box<dyn Error + Send + Sync>;

/// Runs the verb on the command line.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "containerd-shim-crisp-v1: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failed> {
    let flags = Flags::parse(std::env::args().skip(1))?;
    match flags.verb {
        Verb::Serve => serve::run(&flags),
        Verb::Start => start::run(&flags, Server::Shim),
        Verb::Delete => delete::run(&flags),
        Verb::Io => start::run(&flags, Server::PodIo),
        Verb::ServeIo => io::run(&flags),
        Verb::Info => info::run(),
        Verb::MakeNamespaces => make_namespaces::run(),
        Verb::PrintInit => print_init::run(),
        Verb::Version => {
            println!("containerd-shim-crisp-v1 {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
