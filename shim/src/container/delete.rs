// SPDX-License-Identifier: Apache-2.0

use std::{sync::Arc, time::Duration};

use containerd_shim_protos::events::task::TaskDelete;
use crisp_runtimes::{Failure, Force};
use crisp_words::bundle;
use tokio::time::timeout;

use super::{Container, ContainerError, Exec, Rootfs};
use crate::{
    cgroup,
    invoke::InvokeError,
    mounts,
    pod::Pod,
    process::{Exit, Phase, Verb},
    record::ContainerRecord,
    service::timestamp,
};

/// How long a process may take to vanish after SIGKILL: longer than output may take to drain.
const KILLED: Duration = Duration::from_secs(10);
const SIGKILL: u32 = 9;

impl Container {
    /// Removes a container that has stopped, or was never started; answers with its pid and end.
    pub(crate) async fn delete(self: &Arc<Self>, pod: &Pod) -> Result<(u32, Exit), ContainerError> {
        let _verb = self.verb.lock().await;
        if self.init.phase() == Phase::Creating {
            // Its creation has failed meanwhile, and left nothing.
            return Err(ContainerError::NoContainer { id: self.id.clone() });
        }
        self.admit(Verb::Delete)?;
        let exit = self.end().await?;
        self.runtime_delete(pod).await?;
        self.close_io();
        self.unmount_rootfs();
        ContainerRecord::remove(&self.bundle);
        pod.forget(&self.id);
        let pid = self.init.pid();
        let event = TaskDelete {
            container_id: self.id.clone(),
            pid,
            exit_status: exit.status,
            exited_at: Some(timestamp(exit.at)).into(),
            ..TaskDelete::default()
        };
        pod.events.publish("/tasks/delete", &event);
        Ok((pid, exit))
    }

    /// How init ended; one that still waits for its start is killed first.
    async fn end(&self) -> Result<Exit, ContainerError> {
        if let Phase::Stopped(exit) = self.init.phase() {
            return Ok(exit);
        }
        let thing = || format!("container {}", self.id);
        if let Some(live) = self.init.live() {
            live.signal(SIGKILL).map_err(|source| ContainerError::Signal {
                signal: SIGKILL,
                thing: thing(),
                source,
            })?;
        }
        let ended = timeout(KILLED, self.init.stopped()).await.ok().flatten();
        ended.ok_or_else(|| ContainerError::Unkillable { thing: thing() })
    }

    /// Makes the runtime forget the container. What is left in its cgroup goes first: `delete`
    /// without force fails on it, and with force some runtimes poll for it in long steps.
    async fn runtime_delete(&self, pod: &Pod) -> Result<(), ContainerError> {
        if let Some(cgroups) = self.cgroups() {
            cgroup::signal_all(cgroups, SIGKILL);
        }
        let log = self.log();
        let mut last = Ok(());
        for force in [Force::No, Force::Yes] {
            let argv = self.driven.runtime.delete(&self.id, force, &log);
            last = self.call(pod, &log).run(&argv, None).await;
            match &last {
                Ok(()) => return Ok(()),
                Err(e) if e.failure() == Some(&Failure::NotFound) => return Ok(()),
                // One that hangs does not hang less when it is forced, and the caller waits.
                Err(InvokeError::Deadline { .. }) => break,
                Err(_) => {}
            }
        }
        let thing = format!("container {}", self.id);
        last.map_err(|source| ContainerError::Runtime { verb: "delete", thing, source })
    }

    /// Forgets an exec that has ended, or never had a process.
    pub(crate) async fn delete_exec(
        &self,
        pod: &Pod,
        exec_id: &str,
        exec: &Exec,
    ) -> Result<(u32, Exit), ContainerError> {
        let _verb = exec.verb.lock().await;
        let thing = || format!("exec {exec_id} of container {}", self.id);
        let phase = exec.process.phase();
        phase
            .admit(Verb::Delete)
            .map_err(|refusal| ContainerError::Refused { thing: thing(), refusal })?;
        let exit = match phase {
            Phase::Stopped(exit) => exit,
            _ => Exit { status: 0, at: std::time::UNIX_EPOCH },
        };
        if let Some(io) = exec.process.take_io() {
            io.close();
        }
        self.forget_exec(exec_id);
        let pid = exec.process.pid();
        let event = TaskDelete {
            container_id: self.id.clone(),
            id: exec_id.to_owned(),
            pid,
            exit_status: exit.status,
            exited_at: Some(timestamp(exit.at)).into(),
            ..TaskDelete::default()
        };
        pod.events.publish("/tasks/delete", &event);
        Ok((pid, exit))
    }

    pub(super) fn close_io(&self) {
        if let Some(io) = self.init.take_io() {
            io.close();
        }
    }

    pub(super) fn unmount_rootfs(&self) {
        if self.rootfs == Rootfs::Shim {
            mounts::unmount_all(&self.bundle.join(bundle::ROOTFS));
        }
    }
}
