// SPDX-License-Identifier: Apache-2.0

use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

use super::{Command, result::ResultProblem};

/// Well-known code of the specification: the plugin asks to be called again later.
const TRY_AGAIN: u64 = 11;

/// What can go wrong with one plugin. `plugin` is its file name.
#[derive(Debug, thiserror::Error)]
pub enum CniError {
    /// There is no such program.
    #[error("CNI plugin {plugin} is in none of {}", dirs(searched))]
    Missing {
        /// The plugin.
        plugin: String,
        /// Directories that were searched.
        searched: Vec<PathBuf>,
    },
    /// The program cannot be run.
    #[error("CNI plugin {plugin} {command}: cannot run {}: {source}", path.display())]
    Spawn {
        /// The plugin.
        plugin: String,
        /// The command.
        command: Command,
        /// The program.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The plugin did not end in time and was killed, with all processes of its group.
    #[error(
        "CNI plugin {plugin} {command}: killed after {after:?} without an answer{}",
        said(stderr)
    )]
    Deadline {
        /// The plugin.
        plugin: String,
        /// The command.
        command: Command,
        /// How long it had.
        after: Duration,
        /// The end of its error output.
        stderr: String,
    },
    /// The plugin said why it failed.
    #[error(
        "CNI plugin {plugin} {command}: {message} (code {code}){}{}",
        detail(details),
        said(stderr)
    )]
    Refused {
        /// The plugin.
        plugin: String,
        /// The command.
        command: Command,
        /// The plugin's error code.
        code: u64,
        /// Its message.
        message: String,
        /// Its details; may be empty.
        details: String,
        /// The end of its error output.
        stderr: String,
    },
    /// The plugin failed without an answer.
    #[error("CNI plugin {plugin} {command}: {status} without an answer{}", said(stderr))]
    Exit {
        /// The plugin.
        plugin: String,
        /// The command.
        command: Command,
        /// How it ended.
        status: ExitStatus,
        /// The end of its error output.
        stderr: String,
    },
    /// The plugin succeeded with an answer that makes no sense.
    #[error(
        "CNI plugin {plugin} {command}: answer makes no sense: {problem}: {output:?}{}",
        said(stderr)
    )]
    Answer {
        /// The plugin.
        plugin: String,
        /// The command.
        command: Command,
        /// What is wrong with it.
        problem: Box<AnswerProblem>,
        /// The beginning of the answer.
        output: String,
        /// The end of its error output.
        stderr: String,
    },
}

/// What is wrong with a plugin's answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerProblem {
    /// Not JSON.
    #[error("not valid JSON: {0}")]
    Syntax(#[from] serde_json::Error),
    /// Not a result.
    #[error(transparent)]
    Result(#[from] ResultProblem),
    /// More than is read.
    #[error("longer than {0} bytes")]
    TooLong(usize),
}

impl CniError {
    /// Whether the plugin itself says that a later try may succeed.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Refused { code: TRY_AGAIN, .. })
    }

    /// Whether the plugin was killed for being late.
    #[must_use]
    pub fn is_deadline(&self) -> bool {
        matches!(self, Self::Deadline { .. })
    }
}

fn dirs(searched: &[PathBuf]) -> String {
    searched.iter().map(|d| d.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn detail(details: &str) -> String {
    if details.is_empty() { String::new() } else { format!(": {details}") }
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!("; stderr: {stderr}") }
}
