// SPDX-License-Identifier: Apache-2.0
//! How a container's end is learned: from its shim, else from the record the shim left, else by
//! making sure that it has ended.

use crisp_words::{ContainerId, ExitRecord, bundle};

use super::record::{Cause, Exit, Run};
use crate::{
    cgroups::Detail,
    pods::{clock, context::Context, shim::PodShim},
    shims::TaskRef,
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
            let oom = record.map_or_else(|| ran_out(context, id), |record| record.oom_killed);
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

/// The record that the shim wrote before it told anyone.
#[must_use]
pub fn read_record(context: &Context, id: &ContainerId) -> Option<ExitRecord> {
    let path = context.layout.bundle(id).join(bundle::EXIT);
    let text = std::fs::read(&path).ok()?;
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
fn ran_out(context: &Context, id: &ContainerId) -> bool {
    let told = context.ooms.take(id.as_str());
    told || context.cgroup_of(id).is_some_and(|cgroup| {
        let usage = context.cgroups.usage([cgroup.as_str()], Detail::Metrics).pop().flatten();
        usage.and_then(|usage| usage.memory).is_some_and(|memory| memory.oom_kills > 0)
    })
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
