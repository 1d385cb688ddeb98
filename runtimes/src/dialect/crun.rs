// SPDX-License-Identifier: Apache-2.0

use super::{Dialect, first_match};
use crate::{Abilities, Failure};

pub(super) struct Crun;

impl Dialect for Crun {
    fn failure(&self, text: &str) -> Option<Failure> {
        let gone = |t: &str| t.contains("No such file or directory");
        if text.contains("error opening file `") && text.contains("/status`") && gone(text) {
            return Some(Failure::NotFound);
        }
        if text.contains("cannot open directory `") || text.contains("cannot open directory '") {
            return gone(text).then_some(Failure::NotFound);
        }
        if text.contains("exec.fifo`") && gone(text) {
            // The fifo goes when the container starts: it is running, or has run.
            return Some(Failure::Running);
        }
        first_match(
            text,
            &[
                ("already exists", Failure::AlreadyExists),
                ("is not in `created` or `stopped` state", Failure::Running),
                ("the container is not running", Failure::NotRunning),
                ("No such process", Failure::NotRunning),
                ("does not exist", Failure::NotFound),
                ("is paused", Failure::Paused),
            ],
        )
    }

    fn abilities_of_version(&self, version: &str) -> Abilities {
        // `crun version 1.8.1`: `features` came with 1.8.6. Recursive read-only mounts came with
        // 1.4, idmapped ones with 0.21; it speaks OCI 1.0.2 and refuses what is newer.
        let (major, minor) = number(version);
        Abilities {
            recursive_read_only: (major, minor) >= (1, 4),
            idmap_mounts: (major, minor) >= (1, 0),
            seccomp: version.contains("+SECCOMP"),
            apparmor: version.contains("+APPARMOR"),
            selinux: version.contains("+SELINUX"),
            systemd: version.contains("+SYSTEMD"),
            ..Abilities::oldest()
        }
    }
}

fn number(version: &str) -> (u32, u32) {
    let word = version.lines().next().and_then(|l| l.split_whitespace().last()).unwrap_or("");
    let mut parts = word.split('.').map(|p| p.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}
