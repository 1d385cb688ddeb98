// SPDX-License-Identifier: Apache-2.0

use std::os::fd::OwnedFd;

use crisp_words::Stdio;

/// Where the streams of a process go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Streams {
    /// Standard input.
    pub stdin: Stdio,
    /// Standard output; with a terminal, all output.
    pub stdout: Stdio,
    /// Standard error; ignored with a terminal.
    pub stderr: Stdio,
    /// Whether the process has a terminal.
    pub terminal: bool,
    /// Whether standard input ends with the first attachment that carries it.
    pub stdin_once: bool,
    /// What a writer meets whose reader, another process, is gone.
    pub reader_gone: ReaderGone,
}

impl Default for Streams {
    /// No streams at all.
    fn default() -> Self {
        Self {
            stdin: Stdio::Null,
            stdout: Stdio::Null,
            stderr: Stdio::Null,
            terminal: false,
            stdin_once: false,
            reader_gone: ReaderGone::Blocks,
        }
    }
}

/// What happens to a process that writes to a plain pipe whose reader is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReaderGone {
    /// It waits for the next reader once the pipe is full: right for a container, which must
    /// outlive a daemon.
    Blocks,
    /// It gets SIGPIPE: right for an exec, whose output nobody can want any more.
    Breaks,
}

/// The descriptors that the OCI runtime hands on to the process. Drop them once the runtime has
/// been started, or the streams never end.
#[derive(Debug)]
pub struct ChildStdio {
    /// For descriptor 0.
    pub stdin: OwnedFd,
    /// For descriptor 1.
    pub stdout: OwnedFd,
    /// For descriptor 2.
    pub stderr: OwnedFd,
}

/// Which streams an attachment carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttachTo {
    /// Into the container.
    pub stdin: bool,
    /// Out of the container.
    pub stdout: bool,
    /// Out of the container.
    pub stderr: bool,
}

/// One stream out of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Stdout,
    Stderr,
}

impl Source {
    /// Name in the log.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    /// Number in an attachment's frames.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Stdout => 1,
            Self::Stderr => 2,
        }
    }
}
