// SPDX-License-Identifier: Apache-2.0
//! What a pod is and what may be done to it: pure, without locks, clocks or files.
//!
//! Clients only ever state *goals* (stop this, remove that). [`PodState::admit`] says what a
//! request gets now; [`PodState::steps`] says which pieces of work bring the pod nearer to its
//! goals and may begin now. The pod's task runs those pieces, writes their outcome back, and asks
//! again. So every race between Start, Stop, Remove and an exit is decided here.
//!
//! ```text
//!  container:  Created ──Start──▶ Running ──exit──▶ Exited,held ──Release──▶ Exited,released
//!                  │                 │ Kill (goal)                                  │ Erase (goal)
//!                  └── Release ──────┴────────────────────────▶                     ▼ gone
//!  pod:        Ready ──all containers released──▶ Teardown ──▶ NotReady ──all erased──▶ Erase
//! ```

use std::{collections::BTreeMap, sync::Arc};

use crisp_words::ContainerId;

use super::{
    error::PodError,
    record::{Answer, PodPhase, PodRecord},
};
use crate::containers::{
    record::{ContainerRecord, HostState, Phase},
    spec::ContainerConfig,
};

/// A pod with its containers, and what is being done to them.
#[derive(Debug, Clone)]
pub struct PodState {
    /// The sandbox's record.
    pub record: Arc<PodRecord>,
    /// What the client wants of the sandbox.
    pub goal: PodGoal,
    /// Work in flight on the sandbox itself.
    pub work: Option<PodWork>,
    /// Its containers.
    pub containers: BTreeMap<ContainerId, Seat>,
}

/// A container in its pod.
#[derive(Debug, Clone)]
pub struct Seat {
    /// Its record.
    pub record: Arc<ContainerRecord>,
    /// What the client wants of it.
    pub goal: Goal,
    /// Work in flight on it.
    pub work: Option<Work>,
    /// Why the last piece of work towards its goal failed. No further piece begins until a
    /// client asks again.
    pub fault: Option<PodError>,
}

/// What the client wants of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PodGoal {
    /// To go on.
    Keep,
    /// To be stopped.
    Stop,
    /// To be stopped and removed.
    Remove,
}

/// What the client wants of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Goal {
    /// To go on.
    Keep,
    /// To be killed and removed.
    Remove,
}

/// Work in flight on a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodWork {
    /// Its host resources are being given back.
    Teardown,
    /// What is left of it is being removed.
    Erase,
}

/// Work in flight on a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// It is being made.
    Create,
    /// It is being started.
    Start,
    /// It was asked to stop, or is being killed.
    Stop,
    /// Its limits are being changed.
    Update,
    /// Plugins are told of what became of it.
    Tell,
    /// What it held of the host is being given back.
    Release,
    /// What is left of it is being removed.
    Erase,
}

/// A request on a pod.
#[derive(Debug, Clone, Copy)]
pub enum Ask<'a> {
    /// Make a container.
    Create(&'a ContainerConfig),
    /// Start a container.
    Start(&'a ContainerId),
    /// Stop a container.
    Stop(&'a ContainerId),
    /// Remove a container.
    Remove(&'a ContainerId),
    /// Change a container's limits.
    Update(&'a ContainerId),
    /// Stop the sandbox.
    StopPod,
    /// Remove the sandbox.
    RemovePod,
    /// Change the sandbox's sums of resources.
    UpdatePod,
}

/// What a request gets.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// It begins now.
    Go,
    /// It shares the answer of the same request in flight.
    Join,
    /// There is nothing to do.
    Done,
    /// A retry of a creation whose answer was lost: this container is its answer.
    Claim(ContainerId),
    /// A retry of a creation in flight: it shares that answer.
    JoinCreation(ContainerId),
    /// It is asked again when the work in its way has ended.
    Wait,
    /// It cannot be done.
    Refuse(PodError),
}

/// A piece of work that may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Kill a running container at once.
    Kill(ContainerId),
    /// Let a stop in flight wait no longer.
    Hurry(ContainerId),
    /// Give back what an ended (or never started) container holds of the host.
    Release(ContainerId),
    /// Remove what is left of a container.
    Erase(ContainerId),
    /// Give back what the sandbox holds of the host.
    Teardown,
    /// Remove what is left of the sandbox.
    ErasePod,
}

impl PodState {
    /// A pod without containers.
    #[must_use]
    pub fn new(record: PodRecord) -> Self {
        Self {
            record: Arc::new(record),
            goal: PodGoal::Keep,
            work: None,
            containers: BTreeMap::new(),
        }
    }

    /// What `ask` gets now.
    #[must_use]
    pub fn admit(&self, ask: Ask<'_>) -> Verdict {
        match ask {
            Ask::Create(config) => self.admit_create(config),
            Ask::Start(id) => self.with_seat(id, |seat| self.admit_start(seat)),
            Ask::Update(id) => self.with_seat(id, |seat| self.admit_update(seat)),
            Ask::Stop(id) => self.containers.get(id).map_or(Verdict::Done, admit_stop),
            Ask::Remove(id) => self.containers.get(id).map_or(Verdict::Done, admit_remove),
            Ask::StopPod => self.admit_stop_pod(),
            Ask::RemovePod if self.goal == PodGoal::Remove => Verdict::Join,
            Ask::RemovePod => Verdict::Go,
            Ask::UpdatePod => Verdict::Go,
        }
    }

    fn with_seat(&self, id: &ContainerId, then: impl FnOnce(&Seat) -> Verdict) -> Verdict {
        match self.containers.get(id).filter(|seat| seat.record.is_visible()) {
            Some(seat) => then(seat),
            None => Verdict::Refuse(PodError::NoContainer(id.to_string())),
        }
    }

    fn admit_create(&self, config: &ContainerConfig) -> Verdict {
        if !self.accepts_containers() {
            return Verdict::Refuse(PodError::PodState {
                id: self.record.id.clone(),
                state: self.state_name(),
                wanted: "containers are made in a ready sandbox",
            });
        }
        let same_name = |seat: &&Seat| seat.record.config.metadata == config.metadata;
        let Some(seat) = self.containers.values().find(same_name) else {
            return Verdict::Go;
        };
        let retry = seat.record.config == *config && seat.goal == Goal::Keep;
        match (&seat.record.phase, seat.record.answer) {
            (Phase::Creating, _) if retry => Verdict::JoinCreation(seat.record.id.clone()),
            (Phase::Created, Answer::Pending) if retry => Verdict::Claim(seat.record.id.clone()),
            _ => Verdict::Refuse(PodError::ContainerExists {
                name: config.metadata.name.clone(),
                attempt: config.metadata.attempt,
                id: seat.record.id.clone(),
            }),
        }
    }

    fn accepts_containers(&self) -> bool {
        self.record.is_ready() && self.goal == PodGoal::Keep
    }

    fn admit_start(&self, seat: &Seat) -> Verdict {
        if !self.accepts_containers() {
            return Verdict::Refuse(PodError::PodState {
                id: self.record.id.clone(),
                state: self.state_name(),
                wanted: "containers are started in a ready sandbox",
            });
        }
        match (&seat.record.phase, seat.work) {
            (Phase::Created, Some(Work::Start)) => Verdict::Join,
            (Phase::Created, Some(_)) if seat.goal == Goal::Keep => Verdict::Wait,
            (Phase::Created, None) if seat.goal == Goal::Keep => Verdict::Go,
            _ => Verdict::Refuse(PodError::ContainerState {
                id: seat.record.id.clone(),
                state: seat.state_name(),
                wanted: "only a created container is started",
            }),
        }
    }

    fn admit_update(&self, seat: &Seat) -> Verdict {
        match (&seat.record.phase, seat.work) {
            (Phase::Created | Phase::Running(_), Some(Work::Start | Work::Update | Work::Tell)) => {
                Verdict::Wait
            }
            (Phase::Running(_), Some(Work::Stop)) | (Phase::Created | Phase::Running(_), None)
                if seat.goal == Goal::Keep =>
            {
                Verdict::Go
            }
            _ => Verdict::Refuse(PodError::ContainerState {
                id: seat.record.id.clone(),
                state: seat.state_name(),
                wanted: "limits are changed on a created or running container",
            }),
        }
    }

    fn admit_stop_pod(&self) -> Verdict {
        match (&self.record.phase, self.goal) {
            (_, PodGoal::Stop | PodGoal::Remove) => Verdict::Join,
            (PodPhase::NotReady { pending }, PodGoal::Keep) if pending.is_empty() => Verdict::Done,
            _ => Verdict::Go,
        }
    }

    /// The pieces of work that may begin now, given the goals.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> =
            self.containers.values().filter_map(|seat| seat.step(self.goal)).collect();
        if let Some(step) = self.pod_step() {
            steps.push(step);
        }
        steps
    }

    fn pod_step(&self) -> Option<Step> {
        if self.work.is_some() || self.goal == PodGoal::Keep {
            return None;
        }
        match &self.record.phase {
            PodPhase::NotReady { pending } if pending.is_empty() => {
                let removable = self.goal == PodGoal::Remove && self.containers.is_empty();
                removable.then_some(Step::ErasePod)
            }
            _ => {
                let idle =
                    |seat: &Seat| seat.work.is_none() && seat.record.host == HostState::Released;
                self.containers.values().all(idle).then_some(Step::Teardown)
            }
        }
    }

    /// The sandbox's state, for messages.
    #[must_use]
    pub fn state_name(&self) -> &'static str {
        match (&self.record.phase, self.goal) {
            (PodPhase::Creating, _) => "being created",
            (_, PodGoal::Remove) => "being removed",
            (PodPhase::Stopping, _) | (_, PodGoal::Stop) => "being stopped",
            (PodPhase::Ready, _) => "ready",
            (PodPhase::NotReady { .. }, _) => "not ready",
        }
    }
}

impl Seat {
    /// A container that nothing is being done to.
    #[must_use]
    pub fn new(record: ContainerRecord) -> Self {
        Self { record: Arc::new(record), goal: Goal::Keep, work: None, fault: None }
    }

    fn step(&self, pod: PodGoal) -> Option<Step> {
        if self.fault.is_some() {
            return None;
        }
        let id = || self.record.id.clone();
        let ends = self.goal == Goal::Remove || pod >= PodGoal::Stop;
        let goes = self.goal == Goal::Remove || pod == PodGoal::Remove;
        match (&self.record.phase, self.record.host, self.work) {
            (Phase::Running(_), _, Some(Work::Stop)) if ends => Some(Step::Hurry(id())),
            (_, _, Some(_)) | (Phase::Creating, _, None) => None,
            (Phase::Running(_), _, None) => ends.then(|| Step::Kill(id())),
            (Phase::Created, HostState::Held, None) => ends.then(|| Step::Release(id())),
            (Phase::Exited(_), HostState::Held, None) => Some(Step::Release(id())),
            (_, HostState::Released, None) => goes.then(|| Step::Erase(id())),
        }
    }

    fn state_name(&self) -> &'static str {
        match (&self.record.phase, self.goal) {
            (_, Goal::Remove) => "being removed",
            (Phase::Creating, _) => "being created",
            (Phase::Created, _) => "created",
            (Phase::Running(_), _) => "running",
            (Phase::Exited(_), _) => "exited",
        }
    }
}

fn admit_stop(seat: &Seat) -> Verdict {
    match (&seat.record.phase, seat.work) {
        (Phase::Running(_), Some(Work::Stop)) => Verdict::Join,
        (Phase::Running(_) | Phase::Created, Some(Work::Start | Work::Update | Work::Tell)) => {
            Verdict::Wait
        }
        (Phase::Running(_), None) => Verdict::Go,
        _ => Verdict::Done,
    }
}

fn admit_remove(seat: &Seat) -> Verdict {
    match (&seat.record.phase, seat.goal) {
        // Nobody has been told of it; its creation ends it or makes it visible.
        (Phase::Creating, _) => Verdict::Wait,
        (_, Goal::Remove) => Verdict::Join,
        _ => Verdict::Go,
    }
}
