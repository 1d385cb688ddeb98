// SPDX-License-Identifier: Apache-2.0
//! The node: all pods, reached by id; where new ones are made.

use std::{sync::Arc, time::Duration};

use crisp_words::{ContainerId, SandboxId};
use futures::FutureExt;
use tokio::sync::oneshot;

use super::{
    actor::{self, Beginning, Door},
    clock,
    context::Context,
    error::PodError,
    handler::Handler,
    ids,
    message::{Message, PodView, Reply},
    names::Creation,
    record::{Answer, PodPhase, PodRecord},
    run,
    spec::{PodConfig, Resources},
};
use crate::containers::{record::ContainerRecord, spec::ContainerConfig};

/// Handle to the node. Clones share it.
#[derive(Clone)]
pub struct Node {
    /// What pods are made with.
    pub context: Arc<Context>,
}

impl Node {
    /// A node with the pods that outlived the last daemon.
    #[must_use]
    pub fn new(context: Arc<Context>, restored: Vec<Beginning>) -> Self {
        let node = Self { context };
        for beginning in restored {
            node.context.names.restore(&beginning.record);
            node.open(beginning);
        }
        node
    }

    fn open(&self, beginning: Beginning) -> Arc<PodView> {
        let id = beginning.record.id.clone();
        let (door, actor) = actor::open(self.context.clone(), beginning);
        let view = door.view.borrow().clone();
        self.context.index.add(id, door);
        tokio::spawn(actor.run());
        view
    }

    /// Makes a sandbox and answers with its id once it is ready.
    ///
    /// The work goes on when the caller goes away; a retry with the same config and handler then
    /// gets its answer.
    ///
    /// # Errors
    /// [`PodError`]; nothing of the sandbox is left, except what [`PodPhase::NotReady`] lists.
    pub async fn run_pod(&self, config: PodConfig, handler: &str) -> Result<SandboxId, PodError> {
        let chosen = self.context.handlers.choose(handler)?.clone();
        if let Some(variant) = chosen.variant() {
            variant.admit(&chosen.name, &config)?;
        }
        let creation = self.context.names.claim(&config, handler, || {
            let id = ids::sandbox();
            let record = PodRecord {
                cgroup: self.context.pod_cgroup(&id, &config),
                id,
                requested_handler: handler.to_owned(),
                handler: chosen.name.clone(),
                created_at_ns: clock::now_ns(),
                phase: PodPhase::Creating,
                answer: Answer::Pending,
                ips: Vec::new(),
                shim: None,
                config: config.clone(),
            };
            (record.id.clone(), self.begin(record, chosen))
        })?;
        let id = creation.await?;
        self.context.names.told(&config.metadata);
        if let Ok(door) = self.context.index.pod(id.as_str()) {
            // Put on record like any other change; nobody waits for it.
            let _ = door.inbox.try_send(Message::Told);
        }
        Ok(id)
    }

    fn begin(&self, record: PodRecord, handler: Arc<Handler>) -> Creation {
        let node = self.clone();
        let work = tokio::spawn(async move { node.make(record, &handler).await });
        async move { work.await.unwrap_or(Err(PodError::ShuttingDown)) }.boxed().shared()
    }

    async fn make(&self, mut record: PodRecord, handler: &Handler) -> Result<SandboxId, PodError> {
        let id = record.id.clone();
        match run::run(&self.context, &mut record, handler).await {
            Ok((shim, _passage)) => {
                let beginning = Beginning { record, containers: Vec::new(), shim: Some(shim) };
                let view = self.open(beginning);
                self.context.events.started_pod(&view);
                Ok(id)
            }
            Err(failed) => {
                if failed.left.is_empty() {
                    self.context.names.free(&record.config.metadata, &id);
                } else {
                    let pending = failed.left.iter().map(ToString::to_string).collect();
                    record.phase = PodPhase::NotReady { pending };
                    if let Err(error) = self.context.write_pod(&record) {
                        tracing::warn!(pod = %id, %error, "failed pod is not on record");
                    }
                    self.open(Beginning { record, containers: Vec::new(), shim: None });
                }
                Err(failed.error)
            }
        }
    }

    /// Stops a sandbox; one that is not there is stopped.
    ///
    /// # Errors
    /// [`PodError`] naming what could not be put back.
    pub async fn stop_pod(&self, id: &str) -> Result<(), PodError> {
        match self.context.index.pod(id) {
            Ok(door) => self.unless_gone(id, ask(&door, Message::StopPod).await),
            Err(PodError::NoPod(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Stops and removes a sandbox; one that is not there is removed.
    ///
    /// # Errors
    /// [`PodError`] naming what could not be put back.
    pub async fn remove_pod(&self, id: &str) -> Result<(), PodError> {
        match self.context.index.pod(id) {
            Ok(door) => self.unless_gone(id, ask(&door, Message::RemovePod).await),
            Err(PodError::NoPod(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Notes a sandbox's new sums of resources.
    ///
    /// # Errors
    /// [`PodError::NoPod`], or when the record cannot be written.
    pub async fn update_pod(
        &self,
        id: &str,
        overhead: Option<Resources>,
        resources: Option<Resources>,
    ) -> Result<(), PodError> {
        let door = self.context.index.pod(id)?;
        ask(&door, |reply| Message::UpdatePod {
            overhead: overhead.map(Box::new),
            resources: resources.map(Box::new),
            reply,
        })
        .await
    }

    /// What a sandbox and its containers look like.
    ///
    /// # Errors
    /// [`PodError::NoPod`] or [`PodError::Ambiguous`].
    pub fn pod(&self, id: &str) -> Result<Arc<PodView>, PodError> {
        Ok(self.context.index.pod(id)?.view.borrow().clone())
    }

    /// What a container looks like, and its pod.
    ///
    /// # Errors
    /// [`PodError::NoContainer`] or [`PodError::Ambiguous`].
    pub fn container(&self, id: &str) -> Result<(Arc<ContainerRecord>, Arc<PodView>), PodError> {
        let (id, door) = self.context.index.container(id)?;
        let view = door.view.borrow().clone();
        let missing = || PodError::NoContainer(id.to_string());
        let record = view.container(&id).cloned().ok_or_else(missing)?;
        Ok((record, view))
    }

    /// Every pod, each as one consistent whole, in the order of their ids.
    #[must_use]
    pub fn pods(&self) -> Vec<Arc<PodView>> {
        self.context.index.all().iter().map(|door| door.view.borrow().clone()).collect()
    }

    /// Makes a container.
    ///
    /// # Errors
    /// [`PodError`]; nothing of the container is left.
    pub async fn create_container(
        &self,
        pod: &str,
        config: ContainerConfig,
    ) -> Result<ContainerId, PodError> {
        let door = self.context.index.pod(pod)?;
        ask(&door, |reply| Message::Create(Box::new(config), reply)).await
    }

    /// Starts a container.
    ///
    /// # Errors
    /// [`PodError`]; the container has then ended with code 128.
    pub async fn start_container(&self, id: &str) -> Result<(), PodError> {
        let (id, door) = self.context.index.container(id)?;
        ask(&door, |reply| Message::Start(id, reply)).await
    }

    /// Stops a container; one that is not there is stopped.
    ///
    /// # Errors
    /// [`PodError`] when it could not be killed.
    pub async fn stop_container(&self, id: &str, timeout: Duration) -> Result<(), PodError> {
        match self.context.index.container(id) {
            Ok((full, door)) => {
                self.unless_gone(id, ask(&door, |reply| Message::Stop(full, timeout, reply)).await)
            }
            Err(PodError::NoContainer(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Kills and removes a container; one that is not there is removed.
    ///
    /// # Errors
    /// [`PodError`] naming what could not be put back.
    pub async fn remove_container(&self, id: &str) -> Result<(), PodError> {
        match self.context.index.container(id) {
            Ok((full, door)) => {
                self.unless_gone(id, ask(&door, |reply| Message::Remove(full, reply)).await)
            }
            Err(PodError::NoContainer(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Changes a container's limits.
    ///
    /// # Errors
    /// [`PodError`]; the limits are then as before.
    pub async fn update_container(&self, id: &str, resources: Resources) -> Result<(), PodError> {
        let (id, door) = self.context.index.container(id)?;
        ask(&door, |reply| Message::Update(id, Box::new(resources), reply)).await
    }

    /// A pod that went away while a request for its end was in its queue has ended.
    fn unless_gone(&self, id: &str, answer: Result<(), PodError>) -> Result<(), PodError> {
        let index = &self.context.index;
        match answer {
            Err(PodError::ShuttingDown)
                if index.pod(id).is_err() && index.container(id).is_err() =>
            {
                Ok(())
            }
            answer => answer,
        }
    }
}

/// Hands a request to a pod's task and waits for its answer.
async fn ask<T>(door: &Door, message: impl FnOnce(Reply<T>) -> Message) -> Result<T, PodError> {
    let (reply, answer) = oneshot::channel();
    door.inbox.send(message(reply)).await.map_err(|_| PodError::ShuttingDown)?;
    answer.await.map_err(|_| PodError::ShuttingDown)?
}
