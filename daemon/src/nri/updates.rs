// SPDX-License-Identifier: Apache-2.0
//! Changes to containers that plugins ask for, carried out by the tasks of their pods.

use std::time::Duration;

use crisp_nri as nri;
use tokio::{sync::oneshot, time::timeout};

use super::merge::Updates;
use crate::pods::{context::Context, error::PodError, message::Message};

/// How long an evicted container may take to end by itself: what Kubernetes gives by default.
const EVICTION_GRACE: Duration = Duration::from_secs(30);

/// Carries out changes to containers, then evictions; those are not waited for.
///
/// # Errors
/// The first change that failed and may not.
pub async fn carry_out(context: &Context, updates: Updates) -> Result<(), PodError> {
    let (updates, evictions) = updates.others();
    for update in updates {
        match one(context, &update).await {
            Err(error) if update.ignore_failure => {
                tracing::info!(%error, "an update asked for by an NRI plugin, which may fail");
            }
            done => done?,
        }
    }
    for (plugin, eviction) in evictions {
        evict(context, &plugin, &eviction).await;
    }
    Ok(())
}

/// Changes one container's limits.
///
/// # Errors
/// [`PodError`]; the limits are as before.
pub async fn one(context: &Context, update: &nri::ContainerUpdate) -> Result<(), PodError> {
    let (id, door) = context.index.container(&update.container_id)?;
    let limit = context.limits.runtime;
    let (reply, answer) = oneshot::channel();
    let asked = update.linux.resources.clone().unwrap_or_default();
    let message = Message::Adjust(id.clone(), Box::new(asked), reply);
    let done = async {
        door.inbox.send(message).await.map_err(|_| PodError::ShuttingDown)?;
        answer.await.map_err(|_| PodError::ShuttingDown)?
    };
    let late = || PodError::Deadline { step: format!("update container {id}"), limit };
    timeout(limit, done).await.unwrap_or_else(|_| Err(late()))
}

/// Begins to stop a container.
pub async fn evict(context: &Context, plugin: &str, eviction: &nri::ContainerEviction) {
    let (id, reason) = (&eviction.container_id, &eviction.reason);
    tracing::warn!(plugin, container = id, reason, "NRI plugin evicts a container");
    let door = context.index.container(id);
    let (reply, answer) = oneshot::channel();
    let sent = match door {
        Ok((full, door)) => {
            let message = Message::Stop(full, EVICTION_GRACE, reply);
            door.inbox.send(message).await.map_err(|_| PodError::ShuttingDown)
        }
        Err(error) => Err(error),
    };
    if let Err(error) = sent {
        tracing::warn!(plugin, container = id, %error, "container is not evicted");
        return;
    }
    let (plugin, id) = (plugin.to_owned(), id.clone());
    tokio::spawn(async move {
        if let Ok(Err(error)) = answer.await {
            tracing::warn!(plugin, container = id, %error, "container is not evicted");
        }
    });
}
