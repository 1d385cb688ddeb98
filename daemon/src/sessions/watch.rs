// SPDX-License-Identifier: Apache-2.0
//! Sees sessions to their end: those that this daemon starts, and those of an earlier one.

use std::{collections::BTreeSet, fs, io, os::fd::OwnedFd, sync::Arc};

use crisp_words::ExecId;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::{io::unix::AsyncFd, process::Child, sync::OwnedSemaphorePermit};

use super::{
    Sessions,
    record::{SessionRecord, started},
    sweep::{execs, sweep},
    ticket::Work,
};
use crate::{pods::context::Context, store, sys::watched};

/// Puts a session on record, if a later daemon would have to end what it leaves. A daemon that
/// dies before this has told nobody the session's URL.
pub(super) fn note(context: &Context, process: &Child, work: &Work) -> Option<SessionRecord> {
    let Work::Exec(exec) = work else { return None };
    let pid = process.id()?;
    let (container, exec) = (exec.container.clone(), exec.exec.clone());
    let record = SessionRecord { pid, started: started(pid)?, container, exec };
    if let Err(error) = store::write(&context.layout.session_record(&record.exec), &record) {
        tracing::warn!(container = %record.container, %error, "session is not on record");
    }
    Some(record)
}

/// Waits for the end of a session and ends what it has left.
pub(super) async fn see_off(
    context: Arc<Context>,
    mut process: Child,
    record: Option<SessionRecord>,
    place: OwnedSemaphorePermit,
) {
    let well = match process.wait().await {
        Ok(status) if status.success() => true,
        Ok(status) => {
            tracing::warn!(%status, "a session failed");
            false
        }
        Err(error) => {
            tracing::warn!(%error, "a session is out of sight");
            false
        }
    };
    drop(place);
    if let Some(record) = record {
        if !well {
            sweep(&context, &record.container, &record.exec).await;
        }
        forget(&context, &record.exec);
    }
}

impl Sessions {
    /// Takes over the sessions of an earlier daemon, and ends the execs that have lost theirs, or
    /// were for an answer that nobody waits for any more. Called before the first request.
    pub fn adopt(&self, context: &Arc<Context>) {
        let mut served = BTreeSet::new();
        for record in records(context) {
            served.insert(record.exec.clone());
            let place = self.places.clone().try_acquire_owned().ok();
            let process = process_of(&record);
            let context = context.clone();
            tokio::spawn(async move {
                if let Some(process) = process {
                    // The only error is that of a runtime that ends.
                    let _ = process.readable().await;
                }
                drop(place);
                // How it ended is its parent's to know; what it ended itself is not found.
                sweep(&context, &record.container, &record.exec).await;
                forget(&context, &record.exec);
            });
        }
        for door in context.index.all() {
            let view = door.view.borrow().clone();
            for container in view.containers.iter().map(|record| record.id.clone()) {
                let mut left = execs(&context.layout.bundle(&container));
                left.retain(|exec| !served.contains(exec));
                let context = context.clone();
                if !left.is_empty() {
                    tokio::spawn(async move {
                        for exec in left {
                            sweep(&context, &container, &exec).await;
                        }
                    });
                }
            }
        }
    }
}

fn records(context: &Context) -> Vec<SessionRecord> {
    let entries = fs::read_dir(context.layout.sessions()).into_iter().flatten().flatten();
    let read = |path: &std::path::Path| match store::read::<SessionRecord>(path) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::warn!(%error, "session is not known");
            // Its exec is found by its pipes.
            let _ = fs::remove_file(path);
            None
        }
    };
    entries.filter_map(|entry| read(&entry.path())).collect()
}

/// The session's process, if it is still the one on record.
fn process_of(record: &SessionRecord) -> Option<AsyncFd<OwnedFd>> {
    let pid = Pid::from_raw(record.pid.cast_signed())?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // Looked at after the pidfd is held: from here on it is that process or none.
    let same = started(record.pid) == Some(record.started);
    let watched = same.then(|| watched::descriptor(pidfd))?;
    watched.inspect_err(|error: &io::Error| tracing::warn!(%error, "session is not watched")).ok()
}

fn forget(context: &Context, exec: &ExecId) {
    if let Err(error) = store::remove(&context.layout.session_record(exec)) {
        tracing::warn!(%exec, %error, "record of a session is not removed");
    }
}
