// SPDX-License-Identifier: Apache-2.0
//! `crisp status`: the operator's first look. With a daemon that does not answer, what the
//! records and the host tell.

mod ask;
mod memory;
mod records;
mod report;
mod show;

use std::path::PathBuf;

use anyhow::anyhow;

use crate::{config, cri::status::chain};

/// How the answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Prints the report. A daemon that does not answer is an error, after the report.
pub(super) fn run(file: Option<PathBuf>, form: Form) -> anyhow::Result<()> {
    let config = config::load(file.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = runtime.block_on(ask::ask(&config.socket()));
    let (report, failure) = match asked {
        Ok(report) => (report, None),
        Err(error) => (records::read(&config, chain(error.as_ref())), Some(error)),
    };
    let text = match form {
        Form::Text => show::text(&report, crate::pods::clock::now_ns()),
        Form::Json => serde_json::to_string_pretty(&report)? + "\n",
    };
    super::print(&text)?;
    match failure {
        None => Ok(()),
        Some(_) => Err(anyhow!("the daemon does not answer on {}", config.socket().display())),
    }
}
