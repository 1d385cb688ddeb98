// SPDX-License-Identifier: Apache-2.0
//! The streams of one process, from before it is made until it is forgotten.

use std::{
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crisp_words::{Stdio, bundle};
use futures::future::join_all;
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::{
    io::{Interest, unix::AsyncFd},
    task::AbortHandle,
    time::timeout,
};

use super::{
    AttachTo, ChildStdio, IoError, Streams,
    attach::{self, Feed, Hub},
    console::ConsoleSocket,
    fifo,
    journal::Journal,
    log_file::LogFile,
    output::{Intake, Output},
    relay::relay,
    stdin::Stdin,
    streams::Source,
};
use crate::sys::watch;

/// How long the last output of a terminal may take to come through.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The streams of one container or exec. Clones share them; the last one to go closes them.
#[derive(Clone)]
pub struct ContainerIo(Arc<Inner>);

struct Inner {
    directory: PathBuf,
    streams: Streams,
    hub: Arc<Hub>,
    stdin: Arc<Stdin>,
    /// The log of both streams, or one for each.
    logs: Vec<Arc<Mutex<LogFile>>>,
    pipes: Pipes,
    state: Mutex<State>,
}

/// Whose the pipes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pipes {
    /// This process's: they go with it.
    Own,
    /// Another shim writes to them: they wait for whoever takes over here.
    Outlive,
}

#[derive(Default)]
struct State {
    outputs: Vec<Arc<Output>>,
    tasks: Vec<AbortHandle>,
    /// Keeps a plain pipe to standard input from ending before it shall.
    hold: Option<OwnedFd>,
    /// Keep what is in plain pipes for a reader that is away.
    output_holds: Vec<OwnedFd>,
    console: Option<Arc<ConsoleSocket>>,
    terminal: Option<Arc<AsyncFd<OwnedFd>>>,
    size: Option<Winsize>,
    /// Pipes in the bundle that were made here, and what belongs to them.
    made: Vec<PathBuf>,
    /// How far the outputs of another's container have come into the log.
    journal: Option<Arc<Mutex<Journal>>>,
}

impl ContainerIo {
    /// Makes and opens all that the process needs, before it is created. Must be called within
    /// the runtime.
    ///
    /// `directory` is the bundle. An exec shares its container's, and so has no log and is not
    /// attached to: its streams are [`Stdio::Null`] or [`Stdio::Path`].
    ///
    /// # Errors
    /// [`IoError`] names the stream that cannot be had; nothing is left behind.
    pub fn open(directory: &Path, streams: Streams) -> Result<(Self, ChildStdio), IoError> {
        let io = Self::over(directory, streams, Pipes::Own)?;
        let child = if io.0.streams.terminal { io.with_terminal() } else { io.with_pipes() }?;
        Ok((io, child))
    }

    /// The logs are open, the streams not yet.
    pub(super) fn over(directory: &Path, streams: Streams, pipes: Pipes) -> Result<Self, IoError> {
        let logs = open_logs(&streams)?;
        Ok(Self(Arc::new(Inner {
            directory: directory.to_owned(),
            streams,
            hub: Arc::default(),
            stdin: Arc::new(Stdin::new(None)),
            logs,
            pipes,
            state: Mutex::default(),
        })))
    }

    /// What to give the runtime as its console socket; `None` without a terminal.
    #[must_use]
    pub fn console_socket(&self) -> Option<PathBuf> {
        self.0.state().console.as_ref().map(|console| console.address().to_owned())
    }

    /// Takes the terminal over from the runtime, which must have been started or start
    /// meanwhile, and begins to copy.
    ///
    /// # Errors
    /// [`IoError::NoTerminal`], [`IoError::NoConsole`], [`IoError::BadConsole`], and those of a
    /// plain pipe that cannot be opened.
    pub async fn receive_console(&self, deadline: Duration) -> Result<(), IoError> {
        let console = self.0.state().console.clone().ok_or(IoError::NoTerminal)?;
        let master = console.receive(deadline).await?;
        let both = Interest::READABLE | Interest::WRITABLE;
        let master = asynchronous(master, both, &self.0.directory)?;
        {
            let mut state = self.0.state();
            state.console = None;
            state.terminal = Some(master.clone());
            if let Some(size) = state.size {
                let _ = tcsetwinsize(master.get_ref(), size);
            }
        }
        self.feed_terminal(&master)?;
        self.drain_terminal(master)
    }

    /// Sets the terminal's size, in characters; before the terminal has come, for when it comes.
    ///
    /// # Errors
    /// [`IoError::NoTerminal`], or what the terminal says.
    pub fn resize(&self, width: u16, height: u16) -> Result<(), IoError> {
        if !self.0.streams.terminal {
            return Err(IoError::NoTerminal);
        }
        let size = Winsize { ws_col: width, ws_row: height, ws_xpixel: 0, ws_ypixel: 0 };
        let mut state = self.0.state();
        state.size = Some(size);
        match &state.terminal {
            None => Ok(()),
            Some(terminal) => tcsetwinsize(terminal.get_ref(), size)
                .map_err(|e| IoError::stream("terminal of", &self.0.directory, e.into())),
        }
    }

    /// Opens the log files anew; what the container writes from here on goes there.
    ///
    /// # Errors
    /// [`IoError::NoLogDirectory`], [`IoError::Log`]; the old file then stays in use.
    pub fn reopen(&self) -> Result<(), IoError> {
        let journal = self.0.state().journal.clone();
        self.0.logs.iter().try_for_each(|log| {
            let mut log = lock(log);
            log.reopen()?;
            if let Some(journal) = &journal {
                lock(journal).reopened(&log);
            }
            Ok(())
        })
    }

    /// Brings all that the process wrote before its exit into the log. Call it after the exit,
    /// before anyone is told; a child that outlived the process and writes on does not hold it
    /// up. A terminal's last words take a moment to come through, and so does all that comes
    /// through another's shim.
    pub async fn drained(&self) {
        let outputs = self.0.state().outputs.clone();
        if self.0.pipes == Pipes::Outlive {
            join_all(outputs.iter().map(|output| output.settled())).await;
            return;
        }
        for output in outputs {
            if self.0.streams.terminal {
                let _ = timeout(LAST_WORDS, output.ended()).await;
            }
            output.catch_up();
        }
    }

    /// Makes a socket in `directory` that listens for one attachment, and answers with its path;
    /// a short one, since an address holds 107 bytes. Streams that the container does not have
    /// are left out.
    ///
    /// # Errors
    /// [`IoError::NotAttachable`] when it has none of them, [`IoError::Stream`] for the socket.
    pub fn attach(&self, to: AttachTo, directory: &Path) -> Result<PathBuf, IoError> {
        let streams = &self.0.streams;
        let has = |stream: &Stdio| matches!(stream, Stdio::Attach | Stdio::CriLog(_));
        let to = AttachTo {
            stdin: to.stdin && has(&streams.stdin),
            stdout: to.stdout && has(&streams.stdout),
            stderr: to.stderr && has(&streams.stderr) && !streams.terminal,
        };
        if to == AttachTo::default() {
            return Err(IoError::NotAttachable(self.0.directory.display().to_string()));
        }
        let feed = to.stdin.then(|| Feed {
            stdin: self.0.stdin.clone(),
            once: streams.stdin_once && !streams.terminal,
        });
        attach::offer(directory, to, self.0.hub.clone(), feed)
    }

    /// Lets go of standard input: the process reads its end once every other writer is gone too.
    pub fn close_stdin(&self) {
        self.0.stdin.close();
        self.0.state().hold = None;
    }

    /// Stops all copying, ends all attachments and removes the pipes. What is still in a pipe is
    /// lost: [`ContainerIo::drained`] comes first.
    pub fn close(&self) {
        self.0.close();
    }

    /// Standard streams that are pipes, plain files or the null device.
    fn with_pipes(&self) -> Result<ChildStdio, IoError> {
        let streams = &self.0.streams;
        let stdin = match &streams.stdin {
            Stdio::Null => fifo::null()?,
            Stdio::Path(path) => {
                let (end, hold) = fifo::input(path)?;
                self.0.state().hold = hold;
                end
            }
            Stdio::CriLog(_) | Stdio::Attach => self.own_input()?,
        };
        Ok(ChildStdio {
            stdin,
            stdout: self.output_end(&streams.stdout, Source::Stdout, bundle::STDOUT)?,
            stderr: self.output_end(&streams.stderr, Source::Stderr, bundle::STDERR)?,
        })
    }

    fn output_end(&self, stream: &Stdio, source: Source, name: &str) -> Result<OwnedFd, IoError> {
        let log = match stream {
            Stdio::Null => return fifo::null(),
            Stdio::Path(path) => {
                let (end, hold) = fifo::output(path, self.0.streams.reader_gone)?;
                self.0.state().output_holds.extend(hold);
                return Ok(end);
            }
            Stdio::Attach => None,
            Stdio::CriLog(path) => self.0.log(path),
        };
        let path = self.make_pipe(name)?;
        let ours = asynchronous(fifo::reader(&path)?, Interest::READABLE, &path)?;
        // The process holds the read end too: a shim that dies breaks no write.
        let end = fifo::waiting(fifo::both(&path)?, &path)?;
        self.run_output(source, ours, log);
        Ok(end)
    }

    fn own_input(&self) -> Result<OwnedFd, IoError> {
        let path = self.make_pipe(bundle::STDIN)?;
        // The process must not hold the write end: it would never read the end of its input.
        let end = fifo::waiting(fifo::reader(&path)?, &path)?;
        self.0.stdin.open(asynchronous(fifo::writer(&path)?, Interest::WRITABLE, &path)?);
        Ok(end)
    }

    fn make_pipe(&self, name: &str) -> Result<PathBuf, IoError> {
        let path = self.0.directory.join(name);
        fifo::make(&path)?;
        self.0.state().made.push(path.clone());
        Ok(path)
    }

    /// With a terminal the runtime itself gets no streams; the process's come over the socket.
    fn with_terminal(&self) -> Result<ChildStdio, IoError> {
        self.0.state().console = Some(Arc::new(ConsoleSocket::listen(&self.0.directory)?));
        Ok(ChildStdio { stdin: fifo::null()?, stdout: fifo::null()?, stderr: fifo::null()? })
    }

    fn feed_terminal(&self, master: &Arc<AsyncFd<OwnedFd>>) -> Result<(), IoError> {
        match &self.0.streams.stdin {
            Stdio::Null => {}
            Stdio::CriLog(_) | Stdio::Attach => self.0.stdin.open(master.clone()),
            Stdio::Path(path) => {
                let from = asynchronous(fifo::reader(path)?, Interest::READABLE, path)?;
                self.0.state().hold = Some(fifo::writer(path)?);
                self.spawn(relay(from, master.clone()));
            }
        }
        Ok(())
    }

    fn drain_terminal(&self, master: Arc<AsyncFd<OwnedFd>>) -> Result<(), IoError> {
        match &self.0.streams.stdout {
            Stdio::Null | Stdio::Attach => self.run_output(Source::Stdout, master, None),
            Stdio::CriLog(path) => self.run_output(Source::Stdout, master, self.0.log(path)),
            Stdio::Path(path) => {
                let to = asynchronous(fifo::both(path)?, Interest::WRITABLE, path)?;
                self.spawn(relay(master, to));
            }
        }
        Ok(())
    }

    fn run_output(
        &self,
        source: Source,
        pipe: Arc<AsyncFd<OwnedFd>>,
        log: Option<Arc<Mutex<LogFile>>>,
    ) {
        let output = Output::new(source, Intake::own(pipe), log, self.0.hub.clone());
        self.follow(output);
    }

    /// Reads an output from now on.
    pub(super) fn follow(&self, output: Output) {
        let output = Arc::new(output);
        self.0.state().outputs.push(output.clone());
        self.spawn(output.run());
    }

    pub(super) fn streams(&self) -> &Streams {
        &self.0.streams
    }

    pub(super) fn logs(&self) -> &[Arc<Mutex<LogFile>>] {
        &self.0.logs
    }

    pub(super) fn hub(&self) -> Arc<Hub> {
        self.0.hub.clone()
    }

    pub(super) fn stdin(&self) -> Arc<Stdin> {
        self.0.stdin.clone()
    }

    /// Has `path` removed when all is closed.
    pub(super) fn made(&self, path: PathBuf) {
        self.0.state().made.push(path);
    }

    pub(super) fn set_journal(&self, journal: Arc<Mutex<Journal>>) {
        self.0.state().journal = Some(journal);
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(task).abort_handle();
        self.0.state().tasks.push(task);
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self, path: &Path) -> Option<Arc<Mutex<LogFile>>> {
        self.logs.iter().find(|log| lock(log).path() == path).cloned()
    }

    fn close(&self) {
        let made = std::mem::take(&mut self.state().made);
        for path in made {
            // Whoever removed the bundle removed it too.
            let _ = fs::remove_file(path);
        }
        self.stop();
    }

    fn stop(&self) {
        let state = std::mem::take(&mut *self.state());
        for task in state.tasks {
            task.abort();
        }
        self.stdin.close();
        self.hub.close();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        match self.pipes {
            Pipes::Own => self.close(),
            Pipes::Outlive => self.stop(),
        }
    }
}

pub(super) fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The logs that `streams` name, each once.
fn open_logs(streams: &Streams) -> Result<Vec<Arc<Mutex<LogFile>>>, IoError> {
    let mut paths: Vec<&Path> = Vec::new();
    let outputs = [Some(&streams.stdout), (!streams.terminal).then_some(&streams.stderr)];
    for stream in outputs.into_iter().flatten() {
        if let Stdio::CriLog(path) = stream
            && !paths.contains(&path.as_path())
        {
            paths.push(path);
        }
    }
    paths.into_iter().map(|path| Ok(Arc::new(Mutex::new(LogFile::open(path)?)))).collect()
}

pub(super) fn asynchronous(
    fd: OwnedFd,
    interest: Interest,
    path: &Path,
) -> Result<Arc<AsyncFd<OwnedFd>>, IoError> {
    watch(fd, interest).map(Arc::new).map_err(|e| IoError::stream("stream", path, e))
}
