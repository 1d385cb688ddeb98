// SPDX-License-Identifier: Apache-2.0
//! Random histories of requests, exits and outcomes, run through [`super::state`] by a small
//! stand-in for the pod's task. Whatever the order, the host is given back before the sandbox
//! goes, no two pieces of work meet on one container, and a removal that nothing hinders ends.

use std::sync::Arc;

use crisp_words::{ContainerId, SandboxId};
use proptest::prelude::*;

use super::{
    error::{FaultKind, PodError},
    record::{Answer, CgroupOwner, PodCgroup, PodPhase, PodRecord},
    spec::PodConfig,
    state::{Ask, Goal, PodGoal, PodState, PodWork, Seat, Step, Verdict, Work},
};
use crate::containers::{
    record::{Cause, ContainerRecord, Exit, HostState, Phase, Run},
    spec::{ContainerConfig, ContainerMetadata},
};

#[derive(Debug, Clone)]
enum Move {
    Create(u8),
    Start(u8),
    Stop(u8),
    Remove(u8),
    StopPod,
    RemovePod,
    Exit(u8),
    End(u8, bool),
}

fn any_move() -> impl Strategy<Value = Move> {
    let who = 0u8..3;
    prop_oneof![
        who.clone().prop_map(Move::Create),
        who.clone().prop_map(Move::Start),
        who.clone().prop_map(Move::Stop),
        who.clone().prop_map(Move::Remove),
        Just(Move::StopPod),
        Just(Move::RemovePod),
        who.clone().prop_map(Move::Exit),
        (0u8..4, prop::bool::weighted(0.8)).prop_map(|(who, good)| Move::End(who, good)),
    ]
}

struct World {
    pod: PodState,
    gone: bool,
}

fn id(who: u8) -> ContainerId {
    ContainerId::new(format!("c{who}")).unwrap()
}

fn config(who: u8) -> ContainerConfig {
    ContainerConfig {
        metadata: ContainerMetadata { name: who.to_string(), attempt: 0 },
        ..ContainerConfig::default()
    }
}

fn broken() -> PodError {
    PodError::step("test", FaultKind::Internal, "broken")
}

impl World {
    fn new() -> Self {
        let record = PodRecord {
            id: SandboxId::new("p").unwrap(),
            config: PodConfig::default(),
            requested_handler: String::new(),
            handler: "x".into(),
            created_at_ns: 1,
            phase: PodPhase::Ready,
            answer: Answer::Given,
            ips: Vec::new(),
            cgroup: PodCgroup { path: "/x".into(), owner: CgroupOwner::Crisp },
            shim: None,
        };
        Self { pod: PodState::new(record), gone: false }
    }

    fn seat(&mut self, id: &ContainerId) -> Option<&mut Seat> {
        self.pod.containers.get_mut(id)
    }

    fn record(&mut self, id: &ContainerId) -> Option<&mut ContainerRecord> {
        self.seat(id).map(|seat| Arc::make_mut(&mut seat.record))
    }

    fn begin(&mut self, id: &ContainerId, work: Work) {
        let seat = self.seat(id).unwrap();
        assert!(seat.work.is_none(), "{work:?} begins while {:?} is in flight", seat.work);
        seat.work = Some(work);
    }

    fn play(&mut self, step: Move) {
        match step {
            Move::Create(who) => self.create(who),
            Move::Start(who) => {
                if matches!(self.pod.admit(Ask::Start(&id(who))), Verdict::Go) {
                    self.begin(&id(who), Work::Start);
                }
            }
            Move::Stop(who) => {
                if matches!(self.pod.admit(Ask::Stop(&id(who))), Verdict::Go) {
                    self.begin(&id(who), Work::Stop);
                }
            }
            Move::Remove(who) => {
                if matches!(self.pod.admit(Ask::Remove(&id(who))), Verdict::Go) {
                    let seat = self.seat(&id(who)).unwrap();
                    seat.goal = Goal::Remove;
                    seat.fault = None;
                }
            }
            Move::StopPod => {
                if matches!(self.pod.admit(Ask::StopPod), Verdict::Go) {
                    self.aim(PodGoal::Stop);
                }
            }
            Move::RemovePod => self.aim(PodGoal::Remove),
            Move::Exit(who) => self.exit(&id(who)),
            Move::End(3, good) => self.end_pod(good),
            Move::End(who, good) => self.end(&id(who), good),
        }
        self.advance();
    }

    fn create(&mut self, who: u8) {
        if !matches!(self.pod.admit(Ask::Create(&config(who))), Verdict::Go) {
            return;
        }
        let record = ContainerRecord {
            id: id(who),
            pod: self.pod.record.id.clone(),
            config: config(who),
            created_at_ns: 1,
            phase: Phase::Creating,
            answer: Answer::Given,
            made: None,
            resources: Default::default(),
            host: HostState::Held,
        };
        let mut seat = Seat::new(record);
        seat.work = Some(Work::Create);
        self.pod.containers.insert(id(who), seat);
    }

    fn aim(&mut self, goal: PodGoal) {
        self.pod.goal = self.pod.goal.max(goal);
        for seat in self.pod.containers.values_mut() {
            seat.fault = None;
        }
        if self.pod.record.is_ready() {
            Arc::make_mut(&mut self.pod.record).phase = PodPhase::Stopping;
        }
    }

    fn exit(&mut self, id: &ContainerId) {
        if let Some(record) = self.record(id)
            && record.running().is_some()
        {
            record.phase = Phase::Exited(ended(Cause::Ended));
        }
    }

    fn advance(&mut self) {
        for step in self.pod.steps() {
            match step {
                Step::Kill(id) => self.begin(&id, Work::Stop),
                Step::Hurry(_) => {}
                Step::Release(id) => self.begin(&id, Work::Release),
                Step::Erase(id) => self.begin(&id, Work::Erase),
                Step::Teardown => {
                    assert!(self.pod.work.is_none());
                    for seat in self.pod.containers.values() {
                        assert_eq!(seat.record.host, HostState::Released, "torn down too early");
                    }
                    self.pod.work = Some(PodWork::Teardown);
                }
                Step::ErasePod => {
                    assert!(self.pod.containers.is_empty(), "erased with containers");
                    self.pod.work = Some(PodWork::Erase);
                }
            }
        }
    }

    fn end(&mut self, id: &ContainerId, good: bool) {
        let Some(work) = self.seat(id).and_then(|seat| seat.work.take()) else { return };
        match (work, good) {
            (Work::Create, true) => self.record(id).unwrap().phase = Phase::Created,
            (Work::Create, false) => drop(self.pod.containers.remove(id)),
            (Work::Start, true) => {
                let run = Run { started_at_ns: 1, pid: 1 };
                self.record(id).unwrap().phase = Phase::Running(run);
            }
            (Work::Start, false) => {
                self.record(id).unwrap().phase = Phase::Exited(ended(Cause::StartFailed));
            }
            (Work::Stop, true) => self.exit(id),
            (Work::Update | Work::Tell, _) => {}
            (Work::Release, true) => {
                let record = self.record(id).unwrap();
                record.host = HostState::Released;
                if record.phase == Phase::Created {
                    record.phase = Phase::Exited(ended(Cause::StartFailed));
                }
            }
            (Work::Erase, true) => drop(self.pod.containers.remove(id)),
            (Work::Stop | Work::Release | Work::Erase, false) => {
                let seat = self.seat(id).unwrap();
                seat.goal = Goal::Keep;
                seat.fault = Some(broken());
                self.pod.goal = PodGoal::Keep;
            }
        }
    }

    fn end_pod(&mut self, good: bool) {
        match (self.pod.work.take(), good) {
            (Some(PodWork::Teardown), good) => {
                let pending = if good { Vec::new() } else { vec!["x".to_owned()] };
                Arc::make_mut(&mut self.pod.record).phase = PodPhase::NotReady { pending };
                if !good || self.pod.goal == PodGoal::Stop {
                    self.pod.goal = PodGoal::Keep;
                }
            }
            (Some(PodWork::Erase), true) => self.gone = true,
            (Some(PodWork::Erase), false) => self.pod.goal = PodGoal::Keep,
            (None, _) => {}
        }
    }
}

fn ended(cause: Cause) -> Exit {
    Exit { started_at_ns: 1, finished_at_ns: 2, code: 0, cause, message: String::new() }
}

proptest! {
    #[test]
    fn whatever_happens_a_removal_ends(moves in prop::collection::vec(any_move(), 0..60)) {
        let mut world = World::new();
        for step in moves {
            if world.gone {
                break;
            }
            world.play(step);
        }
        for _ in 0..20 {
            if world.gone {
                break;
            }
            world.play(Move::RemovePod);
            for who in 0..4 {
                if !world.gone {
                    world.play(Move::End(who, true));
                }
            }
        }
        prop_assert!(world.gone, "the pod is still there: {:?}", world.pod);
    }
}
