// SPDX-License-Identifier: Apache-2.0

use std::{fs, path::PathBuf, sync::Arc};

use containerd_shim_protos::events::task::{TaskExecAdded, TaskExecStarted};
use crisp_runtimes::{ExecFiles, Tty};
use crisp_words::ExecId;

use super::{Container, ContainerError, Exec, create::CONSOLE, exit};
use crate::{
    io::{ChildStdio, ContainerIo, ReaderGone},
    pod::Pod,
    process::{Live, Phase, Process, StdioText, Verb, lock, pid_in},
};

const SIGKILL: u32 = 9;

/// What Task.Exec asks for.
pub(crate) struct NewExec {
    pub(crate) exec_id: String,
    pub(crate) stdio: StdioText,
    /// OCI process, JSON.
    pub(crate) spec: Vec<u8>,
}

/// The files of one exec in the bundle, gone when its process runs.
struct Files {
    process: PathBuf,
    pid: PathBuf,
    log: PathBuf,
}

impl Drop for Files {
    fn drop(&mut self) {
        for file in [&self.process, &self.pid, &self.log] {
            let _ = fs::remove_file(file);
        }
    }
}

impl Container {
    /// Registers an exec; [`Self::start_exec`] runs it.
    pub(crate) fn add_exec(&self, pod: &Pod, new: NewExec) -> Result<(), ContainerError> {
        ExecId::new(new.exec_id.as_str())?;
        self.admit(Verb::Exec)?;
        let mut execs = lock(&self.execs);
        if execs.contains_key(&new.exec_id) {
            let (id, exec_id) = (self.id.clone(), new.exec_id);
            return Err(ContainerError::ExecExists { id, exec_id });
        }
        let process = Process::new(new.stdio, Phase::Created);
        let exec = Exec { process, spec: new.spec, verb: tokio::sync::Mutex::default() };
        execs.insert(new.exec_id.clone(), Arc::new(exec));
        drop(execs);
        let (container_id, exec_id) = (self.id.clone(), new.exec_id);
        let event = TaskExecAdded { container_id, exec_id, ..TaskExecAdded::default() };
        pod.events.publish("/tasks/exec-added", &event);
        Ok(())
    }

    pub(super) fn forget_exec(&self, exec_id: &str) {
        lock(&self.execs).remove(exec_id);
    }

    /// Runs a registered exec; answers with its pid.
    pub(crate) async fn start_exec(
        self: &Arc<Self>,
        pod: &Arc<Pod>,
        exec_id: &str,
        exec: &Arc<Exec>,
    ) -> Result<u32, ContainerError> {
        let thing = || format!("exec {exec_id} of container {}", self.id);
        let _verb = exec.verb.lock().await;
        self.admit(Verb::Exec)?;
        let phase = exec.process.phase();
        phase
            .admit(Verb::Start)
            .map_err(|refusal| ContainerError::Refused { thing: thing(), refusal })?;
        exec.process.enter(Phase::Starting);
        let started = self.run_exec(pod, exec_id, exec).await;
        match started {
            Ok(live) => {
                let pid = live.pid();
                exec.process.set_live(live);
                exec.process.enter(Phase::Running);
                let (container_id, exec_id) = (self.id.clone(), exec_id.to_owned());
                let event = TaskExecStarted {
                    container_id,
                    exec_id: exec_id.clone(),
                    pid,
                    ..TaskExecStarted::default()
                };
                pod.events.publish("/tasks/exec-started", &event);
                exit::watch_exec(pod.clone(), self.id.clone(), exec_id, exec.clone());
                Ok(pid)
            }
            Err(error) => {
                exec.process.enter(Phase::Created);
                exec.process.take_io();
                Err(error)
            }
        }
    }

    async fn run_exec(
        &self,
        pod: &Pod,
        exec_id: &str,
        exec: &Exec,
    ) -> Result<Arc<Live>, ContainerError> {
        let thing = || format!("exec {exec_id} of container {}", self.id);
        let file = |suffix: &str| self.bundle.join(format!("exec-{exec_id}.{suffix}"));
        let files = Files { process: file("json"), pid: file("pid"), log: file("log") };
        fs::write(&files.process, &exec.spec).map_err(|source| ContainerError::File {
            what: "cannot write",
            path: files.process.clone(),
            source,
        })?;
        let (io, stdio) = self.open_exec_io(exec, thing)?;
        let console = io.console_socket();
        let tty = console.as_deref().map_or(Tty::None, Tty::Socket);
        let paths = ExecFiles { process: &files.process, pid_file: &files.pid, tty };
        let argv = self.driven.runtime.exec(&self.id, paths, &files.log);
        let _handing_over = pod.children.handing_over();
        let mut call = self.call(pod, &files.log);
        call.oom_score_adj = score(&exec.spec);
        let ran = call.run(&argv, Some(stdio)).await;
        ran.map_err(|source| ContainerError::Runtime { verb: "start", thing: thing(), source })?;
        let live = pid_in(&files.pid)
            .and_then(|pid| Live::open(pid, &pod.children))
            .map_err(|source| ContainerError::Process { thing: thing(), source })?;
        if console.is_some()
            && let Err(source) = io.receive_console(CONSOLE).await
        {
            let _ = live.signal(SIGKILL);
            live.reap(&pod.children).await;
            return Err(ContainerError::Io { thing: thing(), source });
        }
        Ok(live)
    }

    fn open_exec_io(
        &self,
        exec: &Exec,
        thing: impl Fn() -> String,
    ) -> Result<(ContainerIo, ChildStdio), ContainerError> {
        let streams = exec.process.stdio.streams(false, ReaderGone::Breaks)?;
        let (io, child) = ContainerIo::open(&self.bundle, streams)
            .map_err(|source| ContainerError::Io { thing: thing(), source })?;
        exec.process.set_io(io.clone());
        Ok((io, child))
    }
}

/// The one field of an OCI process that crun does not look at in an exec: the process would run
/// with the score that crun inherits.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Score {
    oom_score_adj: Option<i32>,
}

fn score(process: &[u8]) -> Option<i32> {
    serde_json::from_slice::<Score>(process).ok()?.oom_score_adj
}
