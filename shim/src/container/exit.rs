// SPDX-License-Identifier: Apache-2.0
//! The end of a process: reaped, its evidence read, recorded, drained, and only then told.

use std::{
    io::{self, Write},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use containerd_shim_protos::events::task::{TaskExit, TaskOOM};
use crisp_words::{ExitRecord, bundle};
use tokio::time::timeout;

use super::{Container, Exec};
use crate::{
    cgroup,
    io::ContainerIo,
    pod::Pod,
    process::{Exit, Phase, lock},
    record,
    service::timestamp,
    spec::PidNamespace,
};

/// How long output may take to drain once the process has ended: a child in the background may
/// hold the pipe for ever.
const DRAIN: Duration = Duration::from_secs(2);
/// How long the execs of a container may take to be told before its init is.
const EXECS: Duration = Duration::from_secs(2);
const SIGKILL: u32 = 9;
/// Exit status of a process that SIGKILL ended.
const KILLED: u32 = 128 + SIGKILL;

/// Waits for init's end in the background.
pub(super) fn watch_init(pod: Arc<Pod>, container: Arc<Container>) {
    let bell = tokio::spawn(ring_on_oom(pod.clone(), container.clone()));
    tokio::spawn(async move {
        let Some(live) = container.init.live() else { return };
        let status = live.reap(&pod.children).await;
        let exit = Exit { status, at: SystemTime::now() };
        bell.abort();
        let oom_killed = container.oom.get().is_some_and(|watch| match status {
            KILLED => watch.killed_init(),
            // Of another process of the container.
            _ => watch.kills() > 0,
        });
        if container.pid_namespace.get() != Some(&PidNamespace::Own)
            && let Some(cgroups) = container.cgroups()
        {
            cgroup::signal_all(cgroups, SIGKILL);
        }
        write_record(&container, live.pid(), exit, oom_killed);
        drain(container.init.io()).await;
        let _ = timeout(EXECS, container.execs_told()).await;
        container.init.not_starting().await;
        if oom_killed {
            publish_oom(&pod, &container.id);
        }
        container.init.enter(Phase::Stopped(exit));
        publish(&pod, &container.id, &container.id, live.pid(), exit);
        pod.told.notify_one();
    });
}

/// Waits for an exec's end in the background.
pub(super) fn watch_exec(pod: Arc<Pod>, container_id: String, exec_id: String, exec: Arc<Exec>) {
    tokio::spawn(async move {
        let Some(live) = exec.process.live() else { return };
        let status = live.reap(&pod.children).await;
        let exit = Exit { status, at: SystemTime::now() };
        drain(exec.process.io()).await;
        exec.process.enter(Phase::Stopped(exit));
        publish(&pod, &container_id, &exec_id, live.pid(), exit);
    });
}

/// Tells of OOM kills that the container survives. The exit path tells of the last one.
async fn ring_on_oom(pod: Arc<Pod>, container: Arc<Container>) {
    let Some(watch) = container.oom.get() else { return };
    let Ok(mut bell) = watch.bell() else { return };
    let mut told = 0;
    while bell.ring().await {
        let kills = watch.kills();
        if kills > told {
            told = kills;
            publish_oom(&pod, &container.id);
        }
    }
}

async fn drain(io: Option<ContainerIo>) {
    if let Some(io) = io {
        let _ = timeout(DRAIN, io.drained()).await;
    }
}

fn write_record(container: &Container, pid: u32, exit: Exit, oom_killed: bool) {
    let since = exit.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let record = ExitRecord {
        version: ExitRecord::VERSION,
        pid,
        status: exit.status,
        exited_at_ns: i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        oom_killed,
    };
    let path = container.bundle.join(bundle::EXIT);
    if let Err(error) = record::write(&path, &record) {
        // The log may lie on the same full file system. That must not end the shim, as a panic of
        // `eprintln` would: the exit is still told.
        let _ = writeln!(io::stderr(), "cannot write {}: {error}", path.display());
    }
}

fn publish_oom(pod: &Pod, id: &str) {
    let event = TaskOOM { container_id: id.to_owned(), ..TaskOOM::default() };
    pod.events.publish("/tasks/oom", &event);
}

fn publish(pod: &Pod, container_id: &str, id: &str, pid: u32, exit: Exit) {
    let event = TaskExit {
        container_id: container_id.to_owned(),
        id: id.to_owned(),
        pid,
        exit_status: exit.status,
        exited_at: Some(timestamp(exit.at)).into(),
        ..TaskExit::default()
    };
    pod.events.publish("/tasks/exit", &event);
}

impl Container {
    /// Waits until every exec that has a process has ended.
    async fn execs_told(&self) {
        let execs: Vec<_> = lock(&self.execs).values().cloned().collect();
        for exec in execs.iter().filter(|e| e.process.live().is_some()) {
            exec.process.stopped().await;
        }
    }
}
