// SPDX-License-Identifier: Apache-2.0

use crisp_runtimes::{Failure, Signalling};

use super::{Container, ContainerError, Target};
use crate::{
    cgroup,
    pod::Pod,
    process::{Phase, Refusal, Verb},
};

const SIGKILL: u32 = 9;

/// Whom a signal reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The one process.
    Process,
    /// Every process of the container; of an exec: it, its descendants and its session.
    Container,
}

impl Target {
    /// Sends a signal; a process that is gone is an error that says so.
    pub(crate) async fn kill(
        &self,
        pod: &Pod,
        signal: u32,
        reach: Reach,
    ) -> Result<(), ContainerError> {
        let thing = || self.thing();
        let refused = |refusal| ContainerError::Refused { thing: thing(), refusal };
        let process = self.process();
        process.phase().admit(Verb::Kill).map_err(refused)?;
        let container = match self {
            Self::Init(container) | Self::Exec(container, _) => container,
        };
        match (reach, self) {
            (_, Self::Init(_))
                if container.driven.runtime.kind.signalling() == Signalling::ThroughRuntime =>
            {
                return container.kill_through_runtime(pod, signal, reach).await;
            }
            (Reach::Container, Self::Init(_)) => {
                if let Some(cgroups) = container.cgroups() {
                    cgroup::signal_all(cgroups, signal);
                }
            }
            // An exec's whole family: what it started and what shares its session.
            (Reach::Container, Self::Exec(_, exec)) => {
                if let Some(cgroups) = container.cgroups() {
                    cgroup::signal_family(cgroups, exec.process.pid(), signal);
                }
            }
            (Reach::Process, _) => {}
        }
        let Some(live) = process.live() else { return Err(refused(Refusal::NotStarted)) };
        let sent = live.signal(signal).map_err(|source| ContainerError::Signal {
            signal,
            thing: thing(),
            source,
        })?;
        if signal == SIGKILL
            && let (Phase::Paused, Some(cgroups)) = (process.phase(), container.cgroups())
        {
            // On cgroup v1 a frozen process does not even die.
            cgroup::thaw(cgroups);
        }
        if sent || reach == Reach::Container { Ok(()) } else { Err(refused(Refusal::Stopped)) }
    }

    pub(crate) fn thing(&self) -> String {
        match self {
            Self::Init(container) => format!("container {}", container.id),
            Self::Exec(container, exec) => {
                let execs = crate::process::lock(&container.execs);
                let id = execs.iter().find(|(_, e)| std::sync::Arc::ptr_eq(e, exec));
                let id = id.map_or("(deleted)", |(id, _)| id.as_str());
                format!("exec {id} of container {}", container.id)
            }
        }
    }
}

impl Container {
    async fn kill_through_runtime(
        &self,
        pod: &Pod,
        signal: u32,
        reach: Reach,
    ) -> Result<(), ContainerError> {
        let log = self.bundle.join("kill.log");
        let runtime = &self.driven.runtime;
        let argv = match reach {
            Reach::Process => runtime.kill(&self.id, signal, &log),
            Reach::Container => runtime.kill_all(&self.id, signal, &log),
        };
        let ran = self.call(pod, &log).run(&argv, None).await;
        let _ = std::fs::remove_file(&log);
        ran.map_err(|source| match source.failure() {
            Some(Failure::NotFound | Failure::NotRunning) => self.refused(Refusal::Stopped),
            _ => {
                let thing = format!("container {}", self.id);
                ContainerError::Runtime { verb: "kill", thing, source }
            }
        })
    }
}
