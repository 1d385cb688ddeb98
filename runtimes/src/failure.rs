// SPDX-License-Identifier: Apache-2.0

use serde::Deserialize;

use crate::{Kind, dialect};

/// Why a runtime refused or failed, as far as its words tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It knows no such container.
    #[error("no such container")]
    NotFound,
    /// The id is taken.
    #[error("container exists already")]
    AlreadyExists,
    /// The verb needs a running container.
    #[error("container is not running")]
    NotRunning,
    /// The verb needs a container that does not run, or has not been started yet.
    #[error("container is running")]
    Running,
    /// The verb needs a container that is not frozen.
    #[error("container is paused")]
    Paused,
    /// Anything else, in the runtime's own words.
    #[error("{text}")]
    Other {
        /// The last error the runtime logged.
        text: String,
    },
}

impl Failure {
    /// Sorts what `kind` said.
    #[must_use]
    pub fn of(kind: Kind, text: &str) -> Self {
        dialect::of(kind).failure(text).unwrap_or_else(|| Self::Other { text: text.to_owned() })
    }
}

/// One line of a runtime's `--log-format json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LogLine {
    /// `error`, `warning`, `debug` …
    #[serde(default)]
    pub level: String,
    /// The text.
    #[serde(default)]
    pub msg: String,
}

/// The error a runtime's log ends with. Lines that are no JSON (a usage text, a Go panic) count as
/// errors when nothing better is there, since a runtime that fails early writes plain text.
#[must_use]
pub fn last_error(log: &str) -> Option<String> {
    let lines = || log.lines().rev().filter(|l| !l.trim().is_empty());
    let errors = lines().filter_map(|l| serde_json::from_str::<LogLine>(l).ok());
    let logged = errors
        .filter(|l| matches!(l.level.as_str(), "error" | "fatal" | "panic" | "ERROR"))
        .map(|l| l.msg)
        .next();
    logged.or_else(|| lines().find(|l| !l.starts_with('{')).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_wins_over_warnings_and_plain_text() {
        let log = "usage: x\n{\"level\":\"error\",\"msg\":\"first\",\"time\":\"t\"}\n\
                   {\"msg\":\"container `a` already exists\",\"level\":\"error\"}\n\
                   {\"level\":\"warning\",\"msg\":\"w\"}\nfatal\n";
        assert_eq!(last_error(log).as_deref(), Some("container `a` already exists"));
        assert_eq!(
            last_error("flag provided but not defined\n\n").as_deref(),
            Some("flag provided but not defined")
        );
        assert_eq!(last_error("{\"level\":\"debug\",\"msg\":\"x\"}\n"), None);
    }

    #[test]
    fn crun_errors_are_sorted() {
        let of = |t| Failure::of(Kind::Crun, t);
        assert_eq!(
            of("error opening file `/r/x/status`: No such file or directory"),
            Failure::NotFound
        );
        assert_eq!(
            of("cannot open directory '/r/x': No such file or directory"),
            Failure::NotFound
        );
        assert_eq!(of("container `x` already exists"), Failure::AlreadyExists);
        assert_eq!(
            of("the container `x` is not in `created` or `stopped` state"),
            Failure::Running
        );
        assert_eq!(of("setns(pid=1, CLONE_NEWUSER): No such process"), Failure::NotRunning);
        let text = "executable file `/nope` not found in $PATH: No such file or directory";
        assert_eq!(of(text), Failure::Other { text: text.into() });
    }

    #[test]
    fn runc_errors_are_sorted() {
        let of = |t| Failure::of(Kind::Runc, t);
        assert_eq!(of("container does not exist"), Failure::NotFound);
        assert_eq!(
            of("runc create failed: container with given ID already exists"),
            Failure::AlreadyExists
        );
        assert_eq!(of("exec failed: cannot exec in a stopped container"), Failure::NotRunning);
        assert_eq!(of("cannot delete container t2 that is not stopped: running"), Failure::Running);
    }
}
