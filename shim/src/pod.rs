// SPDX-License-Identifier: Apache-2.0

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tokio::sync::Notify;

use crate::{
    container::{Container, ContainerError},
    events::Events,
    options::Driven,
    process::{Children, Phase, lock},
    sandbox::Sandbox,
};

/// Everything one server answers for. Its containers are locked one by one: a slow verb on one
/// keeps no other waiting, and looking never waits for a verb.
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) events: Events,
    pub(crate) children: Children,
    pub(crate) sandbox: Sandbox,
    /// Rung when the server is to leave.
    pub(crate) leave: Notify,
    /// Rung when the end of a container has been told.
    pub(crate) told: Notify,
    containers: Mutex<BTreeMap<String, Arc<Container>>>,
    /// The runtime of containers whose Create names none.
    runtime: Mutex<Option<Driven>>,
}

impl Pod {
    pub(crate) fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            events: Events::start(namespace),
            children: Children::default(),
            sandbox: Sandbox::default(),
            leave: Notify::new(),
            told: Notify::new(),
            containers: Mutex::default(),
            runtime: Mutex::default(),
        }
    }

    pub(crate) fn container(&self, id: &str) -> Result<Arc<Container>, ContainerError> {
        let found = lock(&self.containers).get(id).cloned();
        found.ok_or_else(|| ContainerError::NoContainer { id: id.to_owned() })
    }

    /// Takes the id for a new container.
    pub(crate) fn admit(&self, container: Arc<Container>) -> Result<(), ContainerError> {
        let mut containers = lock(&self.containers);
        if containers.contains_key(&container.id) {
            return Err(ContainerError::Exists { id: container.id.clone() });
        }
        containers.insert(container.id.clone(), container);
        Ok(())
    }

    pub(crate) fn forget(&self, id: &str) {
        lock(&self.containers).remove(id);
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.containers).is_empty()
    }

    /// Whether any container has a process.
    pub(crate) fn has_life(&self) -> bool {
        let stopped = |c: &Arc<Container>| matches!(c.init.phase(), Phase::Stopped(_));
        !lock(&self.containers).values().all(stopped)
    }

    pub(crate) fn set_runtime(&self, runtime: Driven) {
        *lock(&self.runtime) = Some(runtime);
    }

    pub(crate) fn runtime(&self) -> Option<Driven> {
        lock(&self.runtime).clone()
    }
}
