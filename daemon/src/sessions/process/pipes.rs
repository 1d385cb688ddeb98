// SPDX-License-Identifier: Apache-2.0
//! The named pipes between a session and the process it runs.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::net::unix::pipe::{OpenOptions, Receiver, Sender};

use crate::{containers::spec::Terminal, sessions::ticket::Wants, shims::StdioAddresses};

/// A pipe could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make pipe {path}: {source}")]
pub(super) struct PipeError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The pipes of one process; removed when dropped.
#[derive(Debug)]
pub(super) struct Pipes {
    stdin: Option<Pipe>,
    pub(super) stdout: Option<Receiver>,
    pub(super) stderr: Option<Receiver>,
    outputs: [Option<Pipe>; 2],
}

/// A pipe's file.
#[derive(Debug)]
struct Pipe(PathBuf);

impl Drop for Pipe {
    fn drop(&mut self) {
        // Whoever removed the bundle removed this too.
        let _ = fs::remove_file(&self.0);
    }
}

impl Pipes {
    /// Makes those that are wanted in `directory`, with names that begin with `name`. The ends to
    /// read from are open from here on.
    pub(super) fn make(directory: &Path, name: &str, wants: Wants) -> Result<Self, PipeError> {
        let make = |wanted: bool, stream: &str| {
            wanted.then(|| Pipe::make(directory.join(format!("{name}-{stream}")))).transpose()
        };
        let outputs = [make(wants.stdout, "stdout")?, make(wants.stderr, "stderr")?];
        let open = |pipe: &Option<Pipe>| pipe.as_ref().map(Pipe::open).transpose();
        Ok(Self {
            stdin: make(wants.stdin, "stdin")?,
            stdout: open(&outputs[0])?,
            stderr: open(&outputs[1])?,
            outputs,
        })
    }

    /// What to tell the shim.
    pub(super) fn addresses(&self, terminal: Terminal) -> StdioAddresses {
        let text = |pipe: &Option<Pipe>| {
            pipe.as_ref().map(|pipe| pipe.0.display().to_string()).unwrap_or_default()
        };
        StdioAddresses {
            stdin: text(&self.stdin),
            stdout: text(&self.outputs[0]),
            stderr: text(&self.outputs[1]),
            terminal: terminal == Terminal::Tty,
        }
    }

    /// The end to write standard input to, once the process runs. `None` when there is none, or
    /// when nobody reads from it any more.
    pub(super) fn open_stdin(&self) -> Option<Sender> {
        OpenOptions::new().open_sender(&self.stdin.as_ref()?.0).ok()
    }
}

impl Pipe {
    fn make(path: PathBuf) -> Result<Self, PipeError> {
        match mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0) {
            Ok(()) => Ok(Self(path)),
            Err(error) => Err(PipeError { path, source: error.into() }),
        }
    }

    fn open(&self) -> Result<Receiver, PipeError> {
        OpenOptions::new()
            .open_receiver(&self.0)
            .map_err(|source| PipeError { path: self.0.clone(), source })
    }
}
