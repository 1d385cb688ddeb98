// SPDX-License-Identifier: Apache-2.0
//! The streams of a container that another's shim runs: that shim writes to and reads from pipes
//! which are made and served here.
//!
//! ```text
//! other shim ──▶ FIFO ──▶ Spool ──▶ Output ──▶ LogFile, then Journal
//! Client ──▶ Stdin ──▶ FIFO ──▶ other shim
//! ```
//!
//! Whoever serves them may be killed. The pipes, what was taken out of them and how far that came
//! stay in the directory, and the next one goes on from there.

use std::{
    future::Future,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Weak},
};

use crisp_words::{Stdio, bundle};
use tokio::{
    io::{Interest, unix::AsyncFd},
    task::yield_now,
};

use super::{
    ContainerIo, IoError, Streams,
    container::{Pipes, asynchronous},
    fifo,
    journal::Journal,
    output::{Intake, Kept, Output},
    spool::Spool,
    streams::Source,
};

/// Names of the files beside the pipes.
const JOURNAL: &str = "io-journal";
const SPOOLS: [&str; 2] = ["io-stdout", "io-stderr"];

/// A container's streams as they are served, and the paths to give to its shim.
pub struct Served {
    /// The streams.
    pub io: ContainerIo,
    /// Pipe that is the container's standard input, if it has one.
    pub stdin: Option<PathBuf>,
    /// Pipe that is its standard output.
    pub stdout: Option<PathBuf>,
    /// Pipe that is its standard error; a terminal has none.
    pub stderr: Option<PathBuf>,
}

impl ContainerIo {
    /// Makes the pipes of a container in `directory` and begins to serve them; where they are made
    /// already, goes on with them. Must be called within the runtime.
    ///
    /// `input_ended` is done once standard input has ended for good and the pipe's end here is
    /// closed.
    ///
    /// # Errors
    /// [`IoError`] names the file that cannot be had; pipes made by this call are removed.
    pub fn serve(
        directory: &Path,
        streams: Streams,
        input_ended: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Served, IoError> {
        let goes_on = directory.join(bundle::STDOUT).exists();
        let io = Self::over(directory, streams, Pipes::Outlive)?;
        let served = io.serve_all(directory, goes_on, input_ended);
        if served.is_err() && !goes_on {
            io.close();
        }
        let (stdin, stdout, stderr) = served?;
        Ok(Served { io, stdin, stdout, stderr })
    }

    #[expect(clippy::type_complexity, reason = "three paths, named where they are used")]
    fn serve_all(
        &self,
        directory: &Path,
        goes_on: bool,
        input_ended: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(Option<PathBuf>, Option<PathBuf>, Option<PathBuf>), IoError> {
        let journal = self.open_journal(directory)?;
        let stdout = self.serve_output(directory, Source::Stdout, journal.as_ref())?;
        let stderr = match self.streams().terminal {
            true => None,
            false => Some(self.serve_output(directory, Source::Stderr, journal.as_ref())?),
        };
        let stdin = match self.streams().stdin {
            Stdio::Attach => Some(self.serve_input(directory, goes_on, input_ended)?),
            _ => None,
        };
        Ok((stdin, Some(stdout), stderr))
    }

    fn open_journal(&self, directory: &Path) -> Result<Option<Arc<Mutex<Journal>>>, IoError> {
        let Some(log) = self.logs().first() else { return Ok(None) };
        let path = directory.join(JOURNAL);
        let mut journal = Journal::open(&path)?;
        self.made(path);
        journal.resume(&super::container::lock(log));
        let journal = Arc::new(Mutex::new(journal));
        self.set_journal(journal.clone());
        Ok(Some(journal))
    }

    fn serve_output(
        &self,
        directory: &Path,
        source: Source,
        journal: Option<&Arc<Mutex<Journal>>>,
    ) -> Result<PathBuf, IoError> {
        let (name, spool) = match source {
            Source::Stdout => (bundle::STDOUT, SPOOLS[0]),
            Source::Stderr => (bundle::STDERR, SPOOLS[1]),
        };
        let path = directory.join(name);
        fifo::keep(&path)?;
        self.made(path.clone());
        let pipe = fifo::reader(&path)?;
        fifo::widen(&pipe);
        let pipe = asynchronous(pipe, Interest::READABLE, &path)?;
        let kept = match journal {
            None => None,
            Some(journal) => {
                let spool_path = directory.join(spool);
                let spool = Spool::open(&spool_path)?;
                self.made(spool_path);
                Some(Kept::new(spool, journal.clone()))
            }
        };
        let log = self.logs().first().cloned();
        let output = Output::new(source, Intake::served(pipe, kept), log, self.hub());
        output.resume();
        self.follow(output);
        Ok(path)
    }

    /// The end here is open both ways: opening it waits for no reader, and what was written stays
    /// for a reader that comes later. The pipe goes when the input ends, and so tells whoever goes
    /// on with it that it has.
    fn serve_input(
        &self,
        directory: &Path,
        goes_on: bool,
        input_ended: impl Future<Output = ()> + Send + 'static,
    ) -> Result<PathBuf, IoError> {
        let path = directory.join(bundle::STDIN);
        if goes_on && !path.exists() {
            self.stdin().close();
            return Ok(path);
        }
        fifo::keep(&path)?;
        self.made(path.clone());
        let pipe = fifo::both(&path)?;
        fifo::widen(&pipe);
        let end = asynchronous(pipe, Interest::WRITABLE, &path)?;
        let watched = Arc::downgrade(&end);
        let stdin = self.stdin();
        stdin.open(end);
        let at = path.clone();
        self.spawn(async move {
            stdin.closed().await;
            let _ = std::fs::remove_file(&at);
            gone(watched).await;
            input_ended.await;
        });
        Ok(path)
    }
}

/// Resolves once a write that was under way has let go of its end, too.
async fn gone(end: Weak<AsyncFd<OwnedFd>>) {
    while end.strong_count() > 0 {
        yield_now().await;
    }
}
