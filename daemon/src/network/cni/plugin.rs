// SPDX-License-Identifier: Apache-2.0

use std::{
    ffi::OsString,
    fs::File,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, ChildStdout},
    time::{Instant, timeout, timeout_at},
};

use super::{
    Command,
    error::{AnswerProblem, CniError},
};
use crate::process_group::ProcessGroup;

/// Longest answer that is read, in bytes.
const ANSWER: usize = 4 << 20;
/// How much of the end of the error output goes into errors, in bytes.
const ERROR_TAIL: usize = 2048;
/// How much of an answer that makes no sense goes into the error, in bytes.
const EXCERPT: usize = 256;
/// How long output may still come after the plugin ended: a process that it left behind may hold
/// the pipe open for ever.
const LINGER: Duration = Duration::from_millis(300);

/// One call of a plugin.
pub(super) struct Call<'a> {
    pub(super) plugin: &'a str,
    pub(super) directories: &'a [PathBuf],
    pub(super) command: Command,
    /// `CNI_*` variables; the rest of the environment is the daemon's.
    pub(super) environment: Vec<(&'static str, OsString)>,
    /// Standard input, from its beginning.
    pub(super) input: File,
    pub(super) deadline: Instant,
    /// How long it is until the deadline at most, for messages.
    pub(super) patience: Duration,
}

/// Finds a plugin: the first directory that has a file of its name.
pub(super) fn find(plugin: &str, directories: &[PathBuf]) -> Option<PathBuf> {
    directories.iter().map(|directory| directory.join(plugin)).find(|path| path.is_file())
}

impl Call<'_> {
    /// Runs the plugin and answers with what it printed: `None` when that is nothing. The
    /// plugin's process group is killed at the deadline, or when the caller goes away.
    pub(super) async fn run(self) -> Result<Option<Value>, CniError> {
        let Some(path) = find(self.plugin, self.directories) else {
            return Err(CniError::Missing {
                plugin: self.plugin.to_owned(),
                searched: self.directories.to_owned(),
            });
        };
        let (plugin, command) = (self.plugin.to_owned(), self.command);
        let mut child = self.spawn(&path).map_err(|source| CniError::Spawn {
            plugin,
            command,
            path,
            source,
        })?;
        let mut group = ProcessGroup::of(&child);
        let mut output = Output::of(&mut child);
        let status = timeout_at(self.deadline, output.read_until_exit(&mut child)).await;
        let plugin = self.plugin.to_owned();
        match status {
            Err(_) => Err(CniError::Deadline {
                plugin,
                command,
                after: self.patience,
                stderr: output.stderr_tail(),
            }),
            Ok(Err(source)) => {
                let path = plugin.clone().into();
                Err(CniError::Spawn { plugin, command, path, source })
            }
            Ok(Ok(status)) => {
                group.disarm();
                // Whoever still writes is not the plugin any more.
                let _ = timeout(LINGER, output.read_to_end()).await;
                output.judge(plugin, command, status)
            }
        }
    }

    fn spawn(&self, path: &Path) -> std::io::Result<Child> {
        tokio::process::Command::new(path)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("CNI_COMMAND", self.command.as_str())
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::from(self.input.try_clone()?))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }
}

/// What a plugin prints, read while it runs.
struct Output {
    pipes: (Option<ChildStdout>, Option<tokio::process::ChildStderr>),
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Output {
    fn of(child: &mut Child) -> Self {
        let pipes = (child.stdout.take(), child.stderr.take());
        Self { pipes, stdout: Vec::new(), stderr: Vec::new() }
    }

    /// Reads both pipes until the process has ended, whether or not they do.
    async fn read_until_exit(&mut self, child: &mut Child) -> std::io::Result<ExitStatus> {
        tokio::select! {
            status = child.wait() => return status,
            () = self.read_to_end() => {}
        }
        child.wait().await
    }

    async fn read_to_end(&mut self) {
        let Self { pipes: (out, err), stdout, stderr } = self;
        tokio::join!(collect(out, stdout, Keep::Start), collect(err, stderr, Keep::End));
    }

    fn stderr_tail(&self) -> String {
        let start = self.stderr.len().saturating_sub(ERROR_TAIL);
        String::from_utf8_lossy(&self.stderr[start..]).trim().to_owned()
    }

    fn judge(
        self,
        plugin: String,
        command: Command,
        status: ExitStatus,
    ) -> Result<Option<Value>, CniError> {
        let stderr = self.stderr_tail();
        let text = self.stdout.trim_ascii();
        let json = serde_json::from_slice::<Value>(text);
        if let Ok(json) = &json
            && let Some((code, message, details)) = refusal(json, status)
        {
            return Err(CniError::Refused { plugin, command, code, message, details, stderr });
        }
        if !status.success() {
            let printed = String::from_utf8_lossy(&text[..text.len().min(EXCERPT)]);
            let stderr = if stderr.is_empty() { printed.into_owned() } else { stderr };
            return Err(CniError::Exit { plugin, command, status, stderr });
        }
        if text.is_empty() {
            return Ok(None);
        }
        let output = String::from_utf8_lossy(&text[..text.len().min(EXCERPT)]).into_owned();
        if self.stdout.len() > ANSWER {
            let problem = AnswerProblem::TooLong(ANSWER).into();
            return Err(CniError::Answer { plugin, command, problem, output, stderr });
        }
        json.map(Some).map_err(|error| {
            let problem = Box::new(AnswerProblem::from(error));
            CniError::Answer { plugin, command, problem, output, stderr }
        })
    }
}

/// A plugin's own error, if that is what it printed. One that ends with success all the same is
/// believed in what it says: a result has neither key.
fn refusal(json: &Value, status: ExitStatus) -> Option<(u64, String, String)> {
    let code = json.get("code").and_then(Value::as_u64);
    let text = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (message, details) = (text("msg"), text("details"));
    let said = code.is_some_and(|code| code != 0) || !message.is_empty();
    let believed = !status.success() || json.get("ips").is_none();
    (said && believed).then(|| (code.unwrap_or(0), message, details))
}

enum Keep {
    /// One byte more than an answer may have, to know that it is too long.
    Start,
    /// The latest.
    End,
}

async fn collect<R: AsyncRead + Unpin>(pipe: &mut Option<R>, kept: &mut Vec<u8>, keep: Keep) {
    let Some(reader) = pipe else { return };
    let mut buffer = [0; 4096];
    // Cancelled reads lose nothing: `read` takes bytes only when it completes.
    while let Ok(n @ 1..) = reader.read(&mut buffer).await {
        match keep {
            Keep::Start => {
                let room = (ANSWER + 1).saturating_sub(kept.len()).min(n);
                kept.extend_from_slice(&buffer[..room]);
            }
            Keep::End => {
                kept.extend_from_slice(&buffer[..n]);
                let surplus = kept.len().saturating_sub(2 * ERROR_TAIL);
                kept.drain(..surplus);
            }
        }
    }
    *pipe = None;
}
