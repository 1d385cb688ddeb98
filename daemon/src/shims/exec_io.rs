// SPDX-License-Identifier: Apache-2.0
//! The output of a command that a probe or ExecSync runs, collected by the daemon.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::{
    net::unix::pipe,
    time::{Instant, timeout_at},
};

/// Most bytes kept of each stream; kubelet and its peers agree on this.
const KEPT: usize = 16 << 20;
/// How long a stream may stay silent after the exit before it counts as done. A background child
/// of the command may hold it open for ever.
const SILENCE: Duration = Duration::from_millis(250);
/// How long output may go on after the exit at most.
const DRAIN: Duration = Duration::from_secs(2);

/// A pipe of an exec could not be made.
#[derive(Debug, thiserror::Error)]
#[error("pipe {}: {source}", path.display())]
pub struct ExecIoError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Named pipes for the output of one exec, with their read ends open. They are removed when
/// dropped.
#[derive(Debug)]
pub struct ExecIo {
    stdout: Pipe,
    stderr: Pipe,
}

/// What an exec wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    /// The first 16 MiB of its standard output.
    pub stdout: Vec<u8>,
    /// The first 16 MiB of its standard error.
    pub stderr: Vec<u8>,
}

#[derive(Debug)]
struct Pipe {
    path: PathBuf,
    reader: pipe::Receiver,
}

impl ExecIo {
    /// Makes `NAME-stdout` and `NAME-stderr` in `directory`. Opening the write ends never blocks,
    /// since the read ends are open from here on.
    ///
    /// # Errors
    /// [`ExecIoError`] names the pipe.
    pub fn create(directory: &Path, name: &str) -> Result<Self, ExecIoError> {
        let stdout = Pipe::create(directory.join(format!("{name}-stdout")))?;
        let stderr = Pipe::create(directory.join(format!("{name}-stderr")))?;
        Ok(Self { stdout, stderr })
    }

    /// What to give the shim as the exec's standard output.
    #[must_use]
    pub fn stdout_path(&self) -> &Path {
        &self.stdout.path
    }

    /// What to give the shim as the exec's standard error.
    #[must_use]
    pub fn stderr_path(&self) -> &Path {
        &self.stderr.path
    }

    /// Reads both streams until they end, or until `exited` has resolved and no more comes.
    /// Answers with what was read and what `exited` answered.
    pub async fn collect<E>(self, exited: impl Future<Output = E>) -> (Captured, E) {
        let mut captured = Captured::default();
        let read = async {
            let stdout = self.stdout.read_to(&mut captured.stdout, None);
            let stderr = self.stderr.read_to(&mut captured.stderr, None);
            tokio::join!(stdout, stderr)
        };
        tokio::pin!(exited);
        let exit = {
            tokio::pin!(read);
            tokio::select! {
                // Both pipes are at their end: only the exit is still to come.
                _ = &mut read => None,
                exit = &mut exited => Some(exit),
            }
        };
        let Some(exit) = exit else { return (captured, exited.await) };
        let end = Some(Instant::now() + DRAIN);
        tokio::join!(
            self.stdout.read_to(&mut captured.stdout, end),
            self.stderr.read_to(&mut captured.stderr, end)
        );
        (captured, exit)
    }
}

impl Pipe {
    fn create(path: PathBuf) -> Result<Self, ExecIoError> {
        let made = mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .map_err(io::Error::from)
            .and_then(|()| pipe::OpenOptions::new().open_receiver(&path));
        match made {
            Ok(reader) => Ok(Self { path, reader }),
            Err(source) => Err(ExecIoError { path, source }),
        }
    }

    /// Appends what comes to `kept`, up to the cap; the rest is read and dropped. Ends at the
    /// pipe's end, and with `until` set also at that time or in a silence.
    ///
    /// A pipe that had no writer yet is not at its end: the kernel reports that only to a reader
    /// that has seen a writer go.
    async fn read_to(&self, kept: &mut Vec<u8>, until: Option<Instant>) {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let ready = match until {
                None => self.reader.readable().await,
                Some(until) => {
                    let pause = until.min(Instant::now() + SILENCE);
                    match timeout_at(pause, self.reader.readable()).await {
                        Ok(ready) if Instant::now() < until => ready,
                        _ => return,
                    }
                }
            };
            if ready.is_err() {
                return;
            }
            match self.reader.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => {
                    let room = KEPT.saturating_sub(kept.len()).min(n);
                    kept.extend_from_slice(&buffer[..room]);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // Whoever removed the directory removed this too.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use tokio::{sync::oneshot, time::sleep};

    use super::*;

    /// Runs a shell command on the pipes, as a shim would run an exec.
    async fn capture(script: &str) -> (Captured, i32) {
        let dir = tempfile::tempdir().unwrap();
        let io = ExecIo::create(dir.path(), "e").unwrap();
        let open = |p: &Path| fs::OpenOptions::new().write(true).open(p).unwrap();
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdout(open(io.stdout_path()))
            .stderr(open(io.stderr_path()))
            .spawn()
            .unwrap();
        let (tell, exited) = oneshot::channel();
        std::thread::spawn(move || tell.send(child.wait().unwrap().code().unwrap()));
        let (captured, code) = io.collect(exited).await;
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "a pipe was left");
        (captured, code.unwrap())
    }

    #[tokio::test]
    async fn both_streams_and_the_exit_are_collected() {
        let (captured, code) = capture("echo out; echo err >&2; exit 7").await;
        assert_eq!((captured.stdout, captured.stderr), (b"out\n".to_vec(), b"err\n".to_vec()));
        assert_eq!(code, 7);
    }

    #[tokio::test]
    async fn output_past_the_cap_is_dropped_without_blocking_the_writer() {
        let (captured, code) = capture("head -c 40000000 /dev/zero").await;
        assert_eq!(captured.stdout.len(), KEPT);
        assert_eq!(code, 0);
    }

    #[tokio::test]
    async fn a_background_child_does_not_hold_the_answer_back() {
        let start = Instant::now();
        let (captured, _) = capture("echo out; sleep 8 & exit 0").await;
        assert_eq!(captured.stdout, b"out\n");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn an_exec_that_never_opened_its_pipes_ends_with_its_failure() {
        let dir = tempfile::tempdir().unwrap();
        let io = ExecIo::create(dir.path(), "e").unwrap();
        let failed = async {
            sleep(Duration::from_millis(50)).await;
            "failed"
        };
        assert_eq!(io.collect(failed).await, (Captured::default(), "failed"));
    }
}
