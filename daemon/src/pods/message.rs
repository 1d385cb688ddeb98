// SPDX-License-Identifier: Apache-2.0
//! What is said to a pod's task, and what the task shows of its pod.

use std::{sync::Arc, time::Duration};

use crisp_nri::LinuxResources;
use crisp_words::ContainerId;
use tokio::sync::oneshot;

use super::{error::PodError, record::PodRecord, spec::Resources};
use crate::containers::{record::ContainerRecord, spec::ContainerConfig};

/// Where an answer goes. A receiver that is gone means a client that no longer listens; the work
/// goes on.
pub type Reply<T> = oneshot::Sender<Result<T, PodError>>;

/// A request on a pod.
#[derive(Debug)]
pub enum Message {
    /// The sandbox's client was told of it.
    Told,
    /// Make a container.
    Create(Box<ContainerConfig>, Reply<ContainerId>),
    /// Start a container.
    Start(ContainerId, Reply<()>),
    /// Ask a container to stop, and kill it when `Duration` has passed.
    Stop(ContainerId, Duration, Reply<()>),
    /// Kill and remove a container.
    Remove(ContainerId, Reply<()>),
    /// Change a container's limits.
    Update(ContainerId, Box<Resources>, Reply<()>),
    /// Change a container's limits as an NRI plugin asks. Waits for nothing: the work in its way
    /// may wait for the plugin.
    Adjust(ContainerId, Box<LinuxResources>, Reply<()>),
    /// Stop the sandbox.
    StopPod(Reply<()>),
    /// Stop and remove the sandbox.
    RemovePod(Reply<()>),
    /// Note the sandbox's new sums of resources.
    UpdatePod {
        /// Overhead of the sandbox.
        overhead: Option<Box<Resources>>,
        /// Sum of its containers.
        resources: Option<Box<Resources>>,
        /// Where the answer goes.
        reply: Reply<()>,
    },
}

/// What a pod looks like at one moment: taken as a whole, so that lists, status and events agree.
#[derive(Debug, Clone)]
pub struct PodView {
    /// The sandbox.
    pub pod: Arc<PodRecord>,
    /// Its containers, in the order of their ids; those still being made are not among them.
    pub containers: Vec<Arc<ContainerRecord>>,
}

impl PodView {
    /// A container of the pod.
    #[must_use]
    pub fn container(&self, id: &ContainerId) -> Option<&Arc<ContainerRecord>> {
        self.containers.iter().find(|c| c.id == *id)
    }
}
