// SPDX-License-Identifier: Apache-2.0
//! Runs a shim binary to its end, under a deadline.

use std::{
    ffi::OsString,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::Command,
    task::JoinHandle,
    time::timeout,
};

use super::ShimError;
use crate::process_group::ProcessGroup;

/// Longest output that is kept, in bytes.
const OUTPUT: usize = 1 << 20;
/// How much of the end of a failed shim's error output goes into the error, in bytes.
const ERROR_TAIL: usize = 2048;
/// How long output may still come after the process ended. A server it left behind may hold the
/// pipe open for ever.
const LINGER: Duration = Duration::from_millis(300);

/// One run of a shim binary.
pub(super) struct Run<'a> {
    pub(super) binary: &'a Path,
    pub(super) verb: &'static str,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) directory: &'a Path,
    pub(super) stdin: Vec<u8>,
    pub(super) deadline: Duration,
}

/// Why a run failed, and whether it had printed anything by then.
pub(super) struct Failure {
    pub(super) error: ShimError,
    pub(super) silent_exit: bool,
}

impl From<ShimError> for Failure {
    fn from(error: ShimError) -> Self {
        Self { error, silent_exit: false }
    }
}

/// Runs the binary and answers with its standard output. Its own process group is killed when
/// the deadline strikes or the caller goes away.
pub(super) async fn run(run: Run<'_>) -> Result<Vec<u8>, Failure> {
    let spawned = |source: std::io::Error| ShimError::Spawn {
        binary: run.binary.to_owned(),
        source: source.into(),
    };
    let mut child = Command::new(run.binary)
        .args(&run.arguments)
        // An OCI runtime that inherits it mounts the daemon's notify socket into the container.
        .env_remove("NOTIFY_SOCKET")
        .envs(run.environment.iter().map(|(k, v)| (k, v)))
        .current_dir(run.directory)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(spawned)?;
    let mut group = ProcessGroup::of(&child);
    if let Some(mut stdin) = child.stdin.take() {
        let bytes = run.stdin;
        // A shim that does not read its input closes it; that is its right.
        tokio::spawn(async move { stdin.write_all(&bytes).await });
    }
    let stdout = Collect::from(child.stdout.take());
    let stderr = Collect::from(child.stderr.take());
    let status = timeout(run.deadline, child.wait())
        .await
        .map_err(|_| ShimError::Deadline {
            shim: run.binary.display().to_string(),
            call: run.verb.to_owned(),
            after: run.deadline,
        })?
        .map_err(spawned)?;
    group.disarm();
    let (stdout, stderr) = tokio::join!(stdout.finish(), stderr.finish());
    if status.success() {
        if !stderr.is_empty() {
            let text = tail(&stderr);
            tracing::debug!(shim = %run.binary.display(), verb = run.verb, text, "shim warned");
        }
        return Ok(stdout);
    }
    let said = if stderr.is_empty() { &stdout } else { &stderr };
    Err(Failure {
        error: ShimError::Exit {
            binary: run.binary.to_owned(),
            verb: run.verb,
            status,
            stderr: tail(said),
        },
        silent_exit: stdout.is_empty(),
    })
}

fn tail(bytes: &[u8]) -> String {
    let start = bytes.len().saturating_sub(ERROR_TAIL);
    String::from_utf8_lossy(&bytes[start..]).trim().to_owned()
}

/// Output read while the process runs, whether or not the pipe ever ends.
struct Collect {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Collect {
    fn from(pipe: Option<impl AsyncRead + Send + Unpin + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let kept = bytes.clone();
        let reader = tokio::spawn(async move {
            let Some(mut pipe) = pipe else { return };
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = pipe.read(&mut buffer).await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let room = OUTPUT.saturating_sub(kept.len()).min(n);
                kept.extend_from_slice(&buffer[..room]);
            }
        });
        Self { bytes, reader }
    }

    async fn finish(mut self) -> Vec<u8> {
        if timeout(LINGER, &mut self.reader).await.is_err() {
            self.reader.abort();
        }
        std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
