// SPDX-License-Identifier: Apache-2.0
//! Ends an exec whose session, or whose daemon, has died: its processes are killed, the shim
//! forgets it, its pipes go. A client that is gone never comes back to it.

use std::{fs, path::Path, time::Duration};

use crisp_words::{ContainerId, ExecId};
use tokio::time::{sleep, timeout};

use crate::{
    pods::{
        context::Context,
        shim::{PodShim, gone_is_fine, runtime_limit},
    },
    shims::{KillScope, ShimError, TaskRef},
};

/// How often to try: an exec that is being started cannot be ended before it runs.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);
const KILL: u32 = libc::SIGKILL.unsigned_abs();

/// Ends whatever there is of an exec.
pub(super) async fn sweep(context: &Context, container: &ContainerId, exec: &ExecId) {
    // One that went with its container, or with its pod's shim, is as gone.
    let Ok((_, door)) = context.index.container(container.as_str()) else { return };
    if let Some(shim) = &door.shim {
        match end(context, shim, TaskRef::exec(container, exec)).await {
            Ok(()) => tracing::info!(%container, %exec, "exec is ended, its session is gone"),
            Err(error) => tracing::warn!(%container, %exec, %error, "exec is not ended"),
        }
    }
    let bundle = context.layout.bundle(container);
    for name in names(&bundle).filter(|name| exec_of(name).as_ref() == Some(exec)) {
        // Whoever removed the bundle removed this too.
        let _ = fs::remove_file(bundle.join(name));
    }
}

async fn end(context: &Context, shim: &PodShim, task: TaskRef<'_>) -> Result<(), ShimError> {
    let limits = &context.limits;
    let mut tried = 0;
    loop {
        let killed = shim.client.kill(task, KILL, KillScope::Container, limits.shim_call).await;
        if killed.is_ok() {
            // Its delete would be refused before its end.
            let _ = timeout(limits.kill, shim.client.wait(task)).await;
        }
        let deleted = shim.client.delete(task, runtime_limit(limits)).await.map(drop);
        tried += 1;
        match gone_is_fine(deleted) {
            Err(_) if tried < TRIES => sleep(PAUSE).await,
            done => return done,
        }
    }
}

/// Execs that have pipes in a bundle.
pub(super) fn execs(bundle: &Path) -> Vec<ExecId> {
    let mut execs: Vec<_> = names(bundle).filter_map(|name| exec_of(&name)).collect();
    execs.sort();
    execs.dedup();
    execs
}

fn names(bundle: &Path) -> impl Iterator<Item = String> + use<> {
    let listed = fs::read_dir(bundle).into_iter().flatten().flatten();
    listed.filter_map(|entry| entry.file_name().into_string().ok())
}

/// The exec that a pipe of this name is of.
fn exec_of(name: &str) -> Option<ExecId> {
    let (exec, stream) = name.rsplit_once('-')?;
    let ours = exec.len() == 16 && exec.bytes().all(|b| b.is_ascii_hexdigit());
    let pipe = matches!(stream, "stdin" | "stdout" | "stderr");
    (ours && pipe).then(|| ExecId::new(exec).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn execs_are_found_by_their_pipes_alone() {
        let dir = tempfile::tempdir().unwrap();
        let names = [
            "0123456789abcdef-stdout",
            "0123456789abcdef-stderr",
            "fedcba9876543210-stdin",
            "config.json",
            "exec-0123456789abcdef.log",
            "0123456789abcdef-other",
            "stdout",
        ];
        for name in names {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let found = execs(dir.path());
        let found: Vec<_> = found.iter().map(ExecId::as_str).collect();
        assert_eq!(found, ["0123456789abcdef", "fedcba9876543210"]);
        assert!(execs(&dir.path().join("gone")).is_empty());
    }
}
