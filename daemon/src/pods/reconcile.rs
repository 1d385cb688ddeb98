// SPDX-License-Identifier: Apache-2.0
//! What a record means after a restart, given what the shim says now. Pure: the evidence is
//! gathered by [`super::restore`].

use crisp_words::ExitRecord;

use super::record::{PodPhase, PodRecord};
use crate::{
    containers::{
        exit,
        record::{Cause, ContainerRecord, Exit, Phase, Run},
    },
    shims::TaskStatus,
};

/// What is known of a container besides its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// The shim knows it.
    Task {
        /// Where in its life the shim has it.
        status: TaskStatus,
        /// Its pid.
        pid: u32,
    },
    /// The shim lives and does not know it.
    NoTask,
    /// The shim does not answer.
    NoShim,
}

/// What becomes of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It goes on with this record.
    Keep(Box<ContainerRecord>),
    /// It was never told to anyone: what there is of it is undone.
    Undo,
}

/// What becomes of a container.
#[must_use]
pub fn container(
    mut record: ContainerRecord,
    evidence: &Evidence,
    exit: Option<&ExitRecord>,
    now_ns: i64,
) -> Fate {
    let run = match &record.phase {
        Phase::Creating => return Fate::Undo,
        Phase::Exited(_) => return Fate::Keep(Box::new(record)),
        Phase::Created => Run { started_at_ns: now_ns, pid: 0 },
        Phase::Running(run) => run.clone(),
    };
    record.phase = match (evidence, exit) {
        (_, Some(exit)) => Phase::Exited(exit::recorded(&run, exit)),
        (Evidence::Task { status: TaskStatus::Created, .. }, None) => Phase::Created,
        // The exit itself is told by Wait, which a stopped task answers at once.
        (Evidence::Task { pid, .. }, None) => Phase::Running(Run { pid: *pid, ..run }),
        (Evidence::NoTask | Evidence::NoShim, None) => Phase::Exited(lost(&record.phase, now_ns)),
    };
    Fate::Keep(Box::new(record))
}

fn lost(phase: &Phase, now_ns: i64) -> Exit {
    let started_at_ns = match phase {
        Phase::Running(run) => run.started_at_ns,
        _ => 0,
    };
    Exit {
        started_at_ns,
        finished_at_ns: now_ns,
        code: 255,
        cause: Cause::Lost,
        message: "its shim was gone when the daemon came back".into(),
    }
}

/// The end of a container whose making was cut short.
#[must_use]
pub fn never_made(now_ns: i64) -> Exit {
    Exit {
        started_at_ns: 0,
        finished_at_ns: now_ns,
        code: 128,
        cause: Cause::StartFailed,
        message: "its making was cut short by a restart of the daemon".into(),
    }
}

/// Whether a pod's shim answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShimEvidence {
    /// It did.
    Lives,
    /// It did not, or there never was one.
    Gone,
}

/// What becomes of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodFate {
    /// It goes on with this record.
    Keep(Box<PodRecord>),
    /// It was never told to anyone: what there is of it is undone.
    Undo(Box<PodRecord>),
}

/// What becomes of a sandbox.
#[must_use]
pub fn pod(mut record: PodRecord, shim: ShimEvidence) -> PodFate {
    match (&record.phase, shim) {
        (PodPhase::Creating, _) => return PodFate::Undo(Box::new(record)),
        (PodPhase::Ready, ShimEvidence::Gone) => {
            record.phase = PodPhase::NotReady { pending: vec!["its shim is gone".into()] };
        }
        (PodPhase::Ready | PodPhase::Stopping | PodPhase::NotReady { .. }, _) => {}
    }
    PodFate::Keep(Box::new(record))
}

#[cfg(test)]
mod tests {
    use crisp_words::{ContainerId, SandboxId};

    use super::*;
    use crate::{containers::record::HostState, pods::record::Answer};

    fn record(phase: Phase) -> ContainerRecord {
        ContainerRecord {
            id: ContainerId::new("c").unwrap(),
            pod: SandboxId::new("p").unwrap(),
            config: Default::default(),
            created_at_ns: 1,
            phase,
            answer: Answer::Given,
            made: None,
            resources: Default::default(),
            host: HostState::Held,
        }
    }

    fn running() -> Phase {
        Phase::Running(Run { started_at_ns: 5, pid: 7 })
    }

    fn task(status: TaskStatus) -> Evidence {
        Evidence::Task { status, pid: 7 }
    }

    fn phase_after(phase: Phase, evidence: &Evidence, exit: Option<&ExitRecord>) -> Phase {
        match container(record(phase), evidence, exit, 100) {
            Fate::Keep(record) => record.phase,
            Fate::Undo => panic!("undone"),
        }
    }

    #[test]
    fn a_container_nobody_was_told_of_is_undone() {
        let fate = container(record(Phase::Creating), &task(TaskStatus::Created), None, 100);
        assert_eq!(fate, Fate::Undo);
    }

    #[test]
    fn a_start_that_the_record_missed_is_seen() {
        let phase = phase_after(Phase::Created, &task(TaskStatus::Running), None);
        assert_eq!(phase, Phase::Running(Run { started_at_ns: 100, pid: 7 }));
        assert_eq!(phase_after(running(), &task(TaskStatus::Running), None), running());
    }

    #[test]
    fn an_exit_on_record_is_the_truth_whatever_the_shim_says() {
        let exit = ExitRecord {
            version: ExitRecord::VERSION,
            pid: 7,
            status: 137,
            exited_at_ns: 50,
            oom_killed: true,
        };
        for evidence in [task(TaskStatus::Running), Evidence::NoTask, Evidence::NoShim] {
            let Phase::Exited(exit) = phase_after(running(), &evidence, Some(&exit)) else {
                panic!("still runs with {evidence:?}")
            };
            assert_eq!((exit.code, exit.cause, exit.finished_at_ns), (137, Cause::OomKilled, 50));
        }
    }

    #[test]
    fn a_container_that_went_without_a_word_is_lost_not_completed() {
        let Phase::Exited(exit) = phase_after(running(), &Evidence::NoShim, None) else {
            panic!("still runs")
        };
        assert_eq!((exit.code, exit.cause, exit.started_at_ns), (255, Cause::Lost, 5));
    }
}
