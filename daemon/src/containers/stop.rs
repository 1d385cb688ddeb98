// SPDX-License-Identifier: Apache-2.0
//! StopContainer: ask, wait, kill, wait.

use crisp_words::ContainerId;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    pods::{
        context::Context,
        error::PodError,
        progress::Stage,
        shim::{PodShim, gone_is_fine},
    },
    shims::{KillScope, ShimError, TaskRef},
};

/// A stop in flight.
pub struct Stop {
    /// Which container.
    pub id: ContainerId,
    /// Linux number of the signal that asks.
    pub signal: i32,
    /// When asking ends and killing begins; may be moved closer meanwhile.
    pub patience: watch::Receiver<Instant>,
    /// True once the container's exit is on record.
    pub gone: watch::Receiver<bool>,
}

/// Stops a running container; returns when its exit is on record.
///
/// # Errors
/// [`PodError`] when it could not be killed in time.
pub async fn stop(
    context: &Context,
    shim: Option<&PodShim>,
    mut stop: Stop,
) -> Result<(), PodError> {
    if !ask_nicely(context, shim, &mut stop).await {
        kill(context, shim, &mut stop).await?;
    }
    Ok(())
}

/// Sends the stop signal and waits until patience ends; true when the container is gone.
async fn ask_nicely(context: &Context, shim: Option<&PodShim>, stop: &mut Stop) -> bool {
    if *stop.patience.borrow() > Instant::now() {
        let asked = signal(context, shim, stop, stop.signal, KillScope::Process).await;
        if let Err(error) = asked {
            // Killing comes next and has the last word.
            tracing::debug!(container = %stop.id, %error, "stop signal was not delivered");
            return *stop.gone.borrow();
        }
    }
    wait_patiently(&mut stop.patience, &mut stop.gone).await;
    *stop.gone.borrow()
}

/// Returns when the container is gone or patience is at its end, wherever that is moved.
async fn wait_patiently(patience: &mut watch::Receiver<Instant>, gone: &mut watch::Receiver<bool>) {
    loop {
        let until = *patience.borrow_and_update();
        tokio::select! {
            () = sleep_until(until) => return,
            // A sender that is gone means the container is.
            _ = gone.wait_for(|gone| *gone) => return,
            moved = patience.changed() => if moved.is_err() {
                return;
            },
        }
    }
}

async fn kill(context: &Context, shim: Option<&PodShim>, stop: &mut Stop) -> Result<(), PodError> {
    let _stage = context.progress.begin(Stage::Kill, &stop.id);
    let step = || format!("kill container {}", stop.id);
    let limit = context.limits.kill;
    let killed = signal(context, shim, stop, libc::SIGKILL, KillScope::Container).await;
    if let Err(error) = &killed {
        tracing::warn!(container = %stop.id, %error, "shim does not kill; killing by cgroup");
        context.kill_by_cgroup(&stop.id).await;
    }
    match timeout(limit, stop.gone.wait_for(|gone| *gone)).await {
        Ok(_) => Ok(()),
        Err(_) => match killed {
            Err(error) => Err(PodError::shim(step(), error)),
            Ok(()) => Err(PodError::Deadline { step: step(), limit }),
        },
    }
}

async fn signal(
    context: &Context,
    shim: Option<&PodShim>,
    stop: &Stop,
    signal: i32,
    scope: KillScope,
) -> Result<(), ShimError> {
    let Some(shim) = shim else { return Ok(()) };
    let signal = signal.unsigned_abs();
    let limit = context.limits.shim_call;
    let task = TaskRef::container(&stop.id);
    gone_is_fine(shim.of(&stop.id)?.kill(task, signal, scope, limit).await)
}
