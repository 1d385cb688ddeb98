// SPDX-License-Identifier: Apache-2.0

use std::fs;

use containerd_shim_protos::events::task::{TaskPaused, TaskResumed};
use protobuf::well_known_types::any::Any;

use super::{Container, ContainerError};
use crate::{
    cgroup,
    pod::Pod,
    process::{Phase, Verb},
};

impl Container {
    /// Changes limits to those of `resources` (OCI `LinuxResources`, JSON).
    pub(crate) async fn update(&self, pod: &Pod, resources: &[u8]) -> Result<(), ContainerError> {
        let _verb = self.verb.lock().await;
        self.admit(Verb::Update)?;
        let path = self.bundle.join("update.json");
        fs::write(&path, resources).map_err(|source| ContainerError::File {
            what: "cannot write",
            path: path.clone(),
            source,
        })?;
        let log = self.log();
        let argv = self.driven.runtime.update(&self.id, &path, &log);
        let ran = self.call(pod, &log).run(&argv, None).await;
        let _ = fs::remove_file(&path);
        ran.map_err(|source| self.failed("update", source))
    }

    /// Freezes every process of the container.
    pub(crate) async fn pause(&self, pod: &Pod) -> Result<(), ContainerError> {
        let _verb = self.verb.lock().await;
        self.admit(Verb::Pause)?;
        let log = self.log();
        let argv = self.driven.runtime.pause(&self.id, &log);
        let ran = self.call(pod, &log).run(&argv, None).await;
        ran.map_err(|source| self.failed("pause", source))?;
        self.init.enter(Phase::Paused);
        let event = TaskPaused { container_id: self.id.clone(), ..TaskPaused::default() };
        pod.events.publish("/tasks/paused", &event);
        Ok(())
    }

    /// Lets them go on.
    pub(crate) async fn resume(&self, pod: &Pod) -> Result<(), ContainerError> {
        let _verb = self.verb.lock().await;
        self.admit(Verb::Resume)?;
        let log = self.log();
        let argv = self.driven.runtime.resume(&self.id, &log);
        let ran = self.call(pod, &log).run(&argv, None).await;
        ran.map_err(|source| self.failed("resume", source))?;
        self.init.enter(Phase::Running);
        let event = TaskResumed { container_id: self.id.clone(), ..TaskResumed::default() };
        pod.events.publish("/tasks/resumed", &event);
        Ok(())
    }

    /// What the container used so far.
    pub(crate) fn metrics(&self) -> Result<Any, ContainerError> {
        let thing = || format!("container {}", self.id);
        let cgroups = self.cgroups().ok_or_else(|| ContainerError::Metrics {
            thing: thing(),
            source: std::io::ErrorKind::NotFound.into(),
        })?;
        cgroup::metrics(cgroups)
            .map_err(|source| ContainerError::Metrics { thing: thing(), source })
    }

    fn failed(&self, verb: &'static str, source: crate::invoke::InvokeError) -> ContainerError {
        ContainerError::Runtime { verb, thing: format!("container {}", self.id), source }
    }
}
