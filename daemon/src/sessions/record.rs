// SPDX-License-Identifier: Apache-2.0
//! What is on record of the session of an exec, so that a later daemon ends what it leaves.

use std::fs;

use crisp_words::{ContainerId, ExecId, start_time};
use serde::{Deserialize, Serialize};

use crate::store::Record;

/// The session of an exec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Pid of its process.
    pub pid: u32,
    /// When that was started, in ticks of the host's clock: a later process may have its pid.
    pub started: u64,
    /// The container.
    pub container: ContainerId,
    /// The exec.
    pub exec: ExecId,
}

impl Record for SessionRecord {
    const KIND: &'static str = "session";
    const VERSION: u32 = 1;
}

/// When the process of a pid was started; `None` if there is none.
pub(super) fn started(pid: u32) -> Option<u64> {
    start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_runs_has_a_start() {
        let me = started(std::process::id()).unwrap();
        assert!(me > 0);
        assert!(started(1).unwrap() <= me);
        assert_eq!(started(u32::MAX), None);
    }
}
