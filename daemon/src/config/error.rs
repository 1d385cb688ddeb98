// SPDX-License-Identifier: Apache-2.0

use std::{fmt, io, path::PathBuf, sync::Arc};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or directory could not be read.
    #[error("cannot read configuration {}", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Files were read, but say something wrong. All that is wrong is listed.
    #[error("{}", list(.0))]
    Problems(Vec<Problem>),
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: Arc<PathBuf>,
    /// Line in it, from 1.
    pub line: usize,
    /// What is wrong.
    pub kind: ProblemKind,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.kind)
    }
}

/// What is wrong with a line of configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProblemKind {
    /// Not TOML.
    #[error("{0}")]
    Syntax(String),
    /// No such key.
    #[error("unknown key {key}{}", suggestion(.nearest))]
    UnknownKey {
        /// The key, with its table.
        key: String,
        /// The known key it may have been meant to be.
        nearest: Option<String>,
    },
    /// The key is there under both of its spellings.
    #[error("{key} is set twice in this file: under [crio] and without")]
    Twice {
        /// The key, with its table.
        key: String,
    },
    /// A value that the key cannot have.
    #[error("{key} = {value}: {reason}")]
    Value {
        /// The key, with its table.
        key: String,
        /// The value, as TOML.
        value: String,
        /// What is expected.
        reason: String,
    },
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |key| format!("; did you mean {key}?"))
}
