// SPDX-License-Identifier: Apache-2.0

use std::time::SystemTime;

/// The life of a process.
///
/// ```text
/// Creating ──▶ Created ──▶ Starting ──▶ Running ◀──▶ Paused
///                 │            │           │           │
///                 └────────────┴───────────┴───────────┴──▶ Stopped
/// ```
/// An exec begins as Created: only Start makes its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The runtime's `create` is under way.
    Creating,
    /// Made, waiting for Start.
    Created,
    /// The runtime's `start` (or `exec`) is under way.
    Starting,
    /// The user's program runs.
    Running,
    /// Frozen.
    Paused,
    /// Ended, recorded, drained.
    Stopped(Exit),
}

/// How and when a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    /// Exit code, or 128 + signal.
    pub(crate) status: u32,
    pub(crate) at: SystemTime,
}

/// What a caller may want of a process, as far as its phase matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Start,
    Exec,
    Kill,
    Delete,
    Pause,
    Resume,
    Update,
}

/// Why a verb is not legal now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("is still being created")]
    Creating,
    #[error("has not been started")]
    NotStarted,
    #[error("is already started")]
    AlreadyStarted,
    #[error("is running")]
    Running,
    #[error("is paused")]
    Paused,
    #[error("is not paused")]
    NotPaused,
    #[error("has stopped")]
    Stopped,
}

impl Phase {
    /// Whether `verb` is legal now.
    pub(crate) fn admit(self, verb: Verb) -> Result<(), Refusal> {
        match (self, verb) {
            (Self::Creating, _) => Err(Refusal::Creating),
            (Self::Stopped(_), Verb::Delete) => Ok(()),
            (Self::Stopped(_), _) => Err(Refusal::Stopped),
            (Self::Created, Verb::Start | Verb::Kill | Verb::Delete | Verb::Update) => Ok(()),
            (Self::Created, _) => Err(Refusal::NotStarted),
            (Self::Running, Verb::Exec | Verb::Kill | Verb::Pause | Verb::Update) => Ok(()),
            (Self::Paused, Verb::Kill | Verb::Resume | Verb::Update) => Ok(()),
            (Self::Starting, Verb::Kill) => Ok(()),
            (Self::Running | Self::Starting | Self::Paused, Verb::Start) => {
                Err(Refusal::AlreadyStarted)
            }
            (Self::Running, Verb::Resume) => Err(Refusal::NotPaused),
            (Self::Running | Self::Starting, Verb::Delete) => Err(Refusal::Running),
            (Self::Paused, _) => Err(Refusal::Paused),
            (Self::Starting, _) => Err(Refusal::NotStarted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOPPED: Phase = Phase::Stopped(Exit { status: 0, at: SystemTime::UNIX_EPOCH });
    const VERBS: [Verb; 7] = [
        Verb::Start,
        Verb::Exec,
        Verb::Kill,
        Verb::Delete,
        Verb::Pause,
        Verb::Resume,
        Verb::Update,
    ];

    fn legal(phase: Phase) -> Vec<Verb> {
        VERBS.into_iter().filter(|v| phase.admit(*v).is_ok()).collect()
    }

    #[test]
    fn each_phase_admits_what_it_can_do() {
        assert_eq!(legal(Phase::Creating), []);
        assert_eq!(legal(Phase::Created), [Verb::Start, Verb::Kill, Verb::Delete, Verb::Update]);
        assert_eq!(legal(Phase::Starting), [Verb::Kill]);
        assert_eq!(legal(Phase::Running), [Verb::Exec, Verb::Kill, Verb::Pause, Verb::Update]);
        assert_eq!(legal(Phase::Paused), [Verb::Kill, Verb::Resume, Verb::Update]);
        assert_eq!(legal(STOPPED), [Verb::Delete]);
    }

    #[test]
    fn a_stopped_process_says_so() {
        assert_eq!(STOPPED.admit(Verb::Kill), Err(Refusal::Stopped));
        assert_eq!(Phase::Running.admit(Verb::Delete), Err(Refusal::Running));
        assert_eq!(Phase::Running.admit(Verb::Start), Err(Refusal::AlreadyStarted));
    }
}
