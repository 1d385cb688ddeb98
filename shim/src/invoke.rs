// SPDX-License-Identifier: Apache-2.0
//! Calling an OCI runtime: spawn, wait by pidfd, kill on a deadline, and tell why it failed.
//!
//! A runtime's errors are read from its log file, never from a pipe: `runc init` inherits the
//! runtime's stderr and would keep a pipe open for the container's whole life.

use std::{
    fs::{self, File, OpenOptions},
    future::pending,
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use crisp_runtimes::{Argv, Failure, Kind, last_error};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::time::{sleep, timeout};

use crate::{
    io::ChildStdio,
    process::{Children, Live},
};

/// How long a killed runtime may take to vanish.
const KILL_GRACE: Duration = Duration::from_secs(5);
/// How long a runtime may go on after the container's end: hooks may be at work.
const WIND_UP: Duration = Duration::from_secs(5);

/// A call of an OCI runtime that did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvokeError {
    #[error("cannot run {program}")]
    Spawn { program: String, source: io::Error },
    #[error("{program} did not finish within {} s and was killed", .deadline.as_secs())]
    Deadline { program: String, deadline: Duration },
    #[error("{program} went on for {} s after the container's end and was killed", WIND_UP.as_secs())]
    Useless { program: String },
    #[error("{program} failed: {failure}")]
    Failed { program: String, failure: Failure },
}

impl InvokeError {
    /// What the runtime said, if it was the runtime that failed.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed { failure, .. } => Some(failure),
            _ => None,
        }
    }
}

/// The fixed part of a call.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) kind: Kind,
    /// The file given to the runtime as its log; made anew for each call.
    pub(crate) log: &'a Path,
    pub(crate) deadline: Duration,
    pub(crate) children: &'a Children,
    /// What the runtime, and so the process it makes, inherits as oom_score_adj; `None` for the
    /// shim's own.
    pub(crate) oom_score_adj: Option<i32>,
}

/// The shim's own score, lent to a program while it is spawned and put back when dropped. The
/// shim has one thread: nothing else is spawned meanwhile.
struct LentScore(String);

const OWN_SCORE: &str = "/proc/self/oom_score_adj";

impl LentScore {
    /// A score that may not be set (one below the shim's own, without CAP_SYS_RESOURCE) is not.
    fn lend(score: i32) -> Option<Self> {
        let own = fs::read_to_string(OWN_SCORE).ok()?;
        fs::write(OWN_SCORE, score.to_string()).ok()?;
        Some(Self(own))
    }
}

impl Drop for LentScore {
    fn drop(&mut self) {
        let _ = fs::write(OWN_SCORE, self.0.trim());
    }
}

impl Call<'_> {
    /// Runs `argv` to its end. `stdio` is what the container's process inherits; a call that makes
    /// no process gets the null device, and its stderr goes to the log.
    pub(crate) async fn run(
        self,
        argv: &Argv,
        stdio: Option<ChildStdio>,
    ) -> Result<(), InvokeError> {
        self.run_until(argv, stdio, pending()).await
    }

    /// The same for a call that has no use after `over`: crun's start, for one, waits for ever for
    /// an init that died in the wrong moment.
    pub(crate) async fn run_until(
        self,
        argv: &Argv,
        stdio: Option<ChildStdio>,
        over: impl Future<Output = ()>,
    ) -> Result<(), InvokeError> {
        let program = argv.program().to_string_lossy().into_owned();
        let runtime = match self.spawn(argv, stdio) {
            Ok(runtime) => runtime,
            Err(source) => return Err(InvokeError::Spawn { program, source }),
        };
        let useless = async {
            over.await;
            sleep(WIND_UP).await;
        };
        let killed_for = tokio::select! {
            biased;
            status = runtime.reap(self.children) => return match status {
                0 => Ok(()),
                status => Err(InvokeError::Failed { program, failure: self.failure(status) }),
            },
            () = sleep(self.deadline) => InvokeError::Deadline { program, deadline: self.deadline },
            () = useless => InvokeError::Useless { program },
        };
        self.kill(&runtime).await;
        Err(killed_for)
    }

    fn spawn(self, argv: &Argv, stdio: Option<ChildStdio>) -> io::Result<std::sync::Arc<Live>> {
        File::create(self.log)?;
        let mut command = Command::new(argv.program());
        command.args(argv.args()).process_group(0).current_dir("/");
        match stdio {
            Some(stdio) => {
                command.stdin(stdio.stdin).stdout(stdio.stdout).stderr(stdio.stderr);
            }
            None => {
                let log = OpenOptions::new().append(true).open(self.log)?;
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
            }
        }
        let lent = self.oom_score_adj.and_then(LentScore::lend);
        let child = command.spawn();
        drop(lent);
        let child = child?;
        Live::open(child.id(), self.children)
    }

    async fn kill(self, runtime: &Live) {
        if let Some(group) = Pid::from_raw(runtime.pid().cast_signed()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = timeout(KILL_GRACE, runtime.reap(self.children)).await;
    }

    fn failure(self, status: u32) -> Failure {
        let log = fs::read(self.log).unwrap_or_default();
        match last_error(&String::from_utf8_lossy(&log)) {
            Some(text) => Failure::of(self.kind, &text),
            None => Failure::Other { text: format!("exit status {status}, nothing logged") },
        }
    }
}
