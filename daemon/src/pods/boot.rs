// SPDX-License-Identifier: Apache-2.0
//! When this daemon was started, and the how manieth of this boot it is.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::clock;
use crate::store::{self, Record};

/// This start of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// Starts since the machine booted, this one included.
    pub starts: u32,
    /// When this one was, nanoseconds since the Unix epoch.
    pub started_at_ns: i64,
    /// Pid of this one.
    pub pid: u32,
}

impl Record for Boot {
    const KIND: &'static str = "daemon";
    const VERSION: u32 = 1;
}

impl Boot {
    /// Adds this start to those on record in the run directory. A record that cannot be read or
    /// written costs the count only.
    #[must_use]
    pub fn note(run: &Path) -> Self {
        let path = run.join("daemon.json");
        let before = Self::last(run).map_or(0, |last| last.starts);
        let boot = Self {
            starts: before.saturating_add(1),
            started_at_ns: clock::now_ns(),
            pid: std::process::id(),
        };
        if let Err(error) = store::write(&path, &boot) {
            tracing::warn!(%error, "this start is not on record");
        }
        boot
    }

    /// The last start on record.
    #[must_use]
    pub fn last(run: &Path) -> Option<Self> {
        store::read(&run.join("daemon.json")).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Boot::last(dir.path()), None);
        assert_eq!(Boot::note(dir.path()).starts, 1);
        assert_eq!(Boot::note(dir.path()).starts, 2);
        assert_eq!(Boot::last(dir.path()).unwrap().pid, std::process::id());
    }
}
