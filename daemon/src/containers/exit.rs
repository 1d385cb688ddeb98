// SPDX-License-Identifier: Apache-2.0
//! How a container's end is learned: from its shim, else from the record the shim left, else by
//! making sure that it has ended.

use crisp_words::{ContainerId, ExitRecord, bundle};

use super::record::{Cause, ContainerRecord, Exit, Run};
use crate::{
    cgroups::Detail,
    pods::{clock, context::Context, shim::PodShim},
    shims::{TaskExit, TaskRef},
};

/// Exit code of a container whose true one nobody knows.
const LOST: i32 = 255;

/// Waits until a running container has ended.
pub async fn wait(context: &Context, shim: Option<&PodShim>, id: &ContainerId, run: &Run) -> Exit {
    let told = match shim.map(|shim| shim.of(id)) {
        Some(Ok(client)) => client.wait(TaskRef::container(id)).await,
        Some(Err(error)) => Err(error),
        None => return without_shim(context, id, run).await,
    };
    let exit = match told {
        Ok(exit) => {
            let record = read_record(context, id);
            let cgroup = || context.cgroup_of(id);
            let oom = record.map_or_else(
                || ran_out(context, id, cgroup().as_deref()),
                |record| record.oom_killed,
            );
            finish(run, exit.status, exit.exited_at_ns.unwrap_or_else(clock::now_ns), oom)
        }
        Err(error) => {
            tracing::warn!(container = %id, %error, "exit not told by the shim");
            without_shim(context, id, run).await
        }
    };
    drain(context, shim, id).await;
    exit
}

/// Has all output in the log before anyone is told of the exit. What cannot be had in time does not
/// hold the exit back.
async fn drain(context: &Context, shim: Option<&PodShim>, id: &ContainerId) {
    let Some(shim) = shim else { return };
    if let Err(error) = shim.io().drained(id, context.limits.drain).await {
        tracing::warn!(container = %id, %error, "last output may be missing from the log");
    }
}

/// The exit of a container whose shim is gone. What the shim wrote is the truth; otherwise the
/// container cannot be looked after any more and is ended.
async fn without_shim(context: &Context, id: &ContainerId, run: &Run) -> Exit {
    if let Some(record) = read_record(context, id) {
        return recorded(run, &record);
    }
    context.kill_by_cgroup(id).await;
    Exit {
        started_at_ns: run.started_at_ns,
        finished_at_ns: clock::now_ns(),
        code: LOST,
        cause: Cause::Lost,
        message: "its shim died; the exit code is not known".into(),
    }
}

/// The record that crisp's shim wrote before it told anyone. Others may leave a file of that name:
/// one without a version is none of ours.
#[must_use]
pub fn read_record(context: &Context, id: &ContainerId) -> Option<ExitRecord> {
    let path = context.layout.bundle(id).join(bundle::EXIT);
    let text = std::fs::read(&path).ok()?;
    if serde_json::from_slice::<serde_json::Value>(&text).is_ok_and(|v| v.get("version").is_none())
    {
        return None;
    }
    match serde_json::from_slice::<ExitRecord>(&text) {
        Ok(record) if record.version == ExitRecord::VERSION => Some(record),
        Ok(record) => {
            tracing::warn!(container = %id, version = record.version, "unknown exit record");
            None
        }
        Err(error) => {
            tracing::warn!(container = %id, %error, "exit record is damaged");
            None
        }
    }
}

/// Whether memory ran out in a container whose shim leaves no record: by what the shim published,
/// or by the container's cgroup, which is there until the shim deletes the container.
fn ran_out(context: &Context, id: &ContainerId, cgroup: Option<&str>) -> bool {
    let told = context.ooms.take(id.as_str());
    told || cgroup.is_some_and(|cgroup| {
        let usage = context.cgroups.usage([cgroup], Detail::Metrics).pop().flatten();
        usage.and_then(|usage| usage.memory).is_some_and(|memory| memory.oom_kills > 0)
    })
}

/// What a shim of another's tells of an exit after a restart, as crisp's own would have left it on
/// record.
pub async fn told(
    context: &Context,
    shim: &PodShim,
    container: &ContainerRecord,
    exit: &TaskExit,
) -> ExitRecord {
    drain(context, Some(shim), &container.id).await;
    let cgroup = container.made.as_ref().map(|made| made.cgroup.as_str());
    ExitRecord {
        version: ExitRecord::VERSION,
        pid: exit.pid,
        status: exit.status,
        exited_at_ns: exit.exited_at_ns.unwrap_or_else(clock::now_ns),
        oom_killed: ran_out(context, &container.id, cgroup),
    }
}

/// The exit that a record tells of.
#[must_use]
pub fn recorded(run: &Run, record: &ExitRecord) -> Exit {
    finish(run, record.status, record.exited_at_ns, record.oom_killed)
}

fn finish(run: &Run, status: u32, finished_at_ns: i64, oom_killed: bool) -> Exit {
    let code = i32::try_from(status).unwrap_or(LOST);
    Exit {
        started_at_ns: run.started_at_ns,
        // Clocks may be set back between the two; an end before the start confuses every client.
        finished_at_ns: finished_at_ns.max(run.started_at_ns),
        code,
        cause: if oom_killed && code != 0 { Cause::OomKilled } else { Cause::Ended },
        message: String::new(),
    }
}
