// SPDX-License-Identifier: Apache-2.0

use std::{fs, path::PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use super::Cgroups;
use crate::sys;

/// Rounds of reading and killing before a cgroup that goes on forking is left alone.
const ROUNDS: usize = 16;

/// Signals every process of the container. SIGKILL goes through `cgroup.kill` where the kernel has
/// it; elsewhere the cgroup is frozen first, so that nothing forks away.
pub(crate) fn signal_all(cgroups: &Cgroups, signal: u32) {
    let Some(signal) = sys::signal(signal) else { return };
    if signal == Signal::KILL
        && let Some(dir) = cgroups.v2_dir()
        && fs::write(dir.join("cgroup.kill"), "1").is_ok()
    {
        thaw(cgroups);
        return;
    }
    let frozen = freeze(cgroups);
    signal_each(|| cgroups.pids(), signal);
    if let Some(switch) = frozen {
        switch.thaw();
    }
}

/// Signals `root`, its descendants and the members of its session, as far as they are in the
/// container.
pub(crate) fn signal_family(cgroups: &Cgroups, root: u32, signal: u32) {
    let Some(signal) = sys::signal(signal) else { return };
    signal_each(|| family(root, &relations(cgroups.pids())), signal);
}

/// A process as `/proc/PID/stat` has it.
#[derive(Debug, Clone, Copy)]
struct Relation {
    pid: u32,
    parent: u32,
    group: u32,
    session: u32,
}

fn relations(pids: Vec<u32>) -> Vec<Relation> {
    pids.into_iter().filter_map(relation).collect()
}

fn relation(pid: u32) -> Option<Relation> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name: state, parent, process group, session.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(1).map(str::parse);
    let parent = fields.next()?.ok()?;
    let group = fields.next()?.ok()?;
    let session = fields.next()?.ok()?;
    Some(Relation { pid, parent, group, session })
}

/// `root` and all that descend from it, or share a session or process group with one that does. A
/// child whose parent has gone is found by its session (runc makes one for each exec) or its group
/// (crun stays in that of its own call), one that made both of its own by its parent.
fn family(root: u32, all: &[Relation]) -> Vec<u32> {
    let mut members: Vec<Relation> = all.iter().filter(|r| r.pid == root).copied().collect();
    loop {
        let related = |r: &Relation, m: &Relation| {
            r.parent == m.pid || r.session == m.pid || r.group == m.group
        };
        let belongs = |r: &&Relation| {
            members.iter().all(|m| m.pid != r.pid) && members.iter().any(|m| related(r, m))
        };
        let fresh: Vec<Relation> = all.iter().filter(belongs).copied().collect();
        if fresh.is_empty() {
            return members.into_iter().map(|r| r.pid).collect();
        }
        members.extend(fresh);
    }
}

fn signal_each(pids: impl Fn() -> Vec<u32>, signal: Signal) {
    let mut done = Vec::new();
    for _ in 0..ROUNDS {
        let fresh: Vec<u32> = pids().into_iter().filter(|p| !done.contains(p)).collect();
        if fresh.is_empty() {
            return;
        }
        for pid in fresh.iter().filter_map(|p| Pid::from_raw(p.cast_signed())) {
            let _ = kill_process(pid, signal);
        }
        done.extend(fresh);
    }
}

/// Lets a frozen container run.
pub(crate) fn thaw(cgroups: &Cgroups) {
    if let Some(switch) = Switch::of(cgroups) {
        switch.thaw();
    }
}

/// Freezes without waiting for the last process.
fn freeze(cgroups: &Cgroups) -> Option<Switch> {
    let switch = Switch::of(cgroups)?;
    fs::write(&switch.file, switch.on).ok().map(|()| switch)
}

/// The file that freezes and thaws a cgroup.
struct Switch {
    file: PathBuf,
    on: &'static str,
    off: &'static str,
}

impl Switch {
    fn of(cgroups: &Cgroups) -> Option<Self> {
        // A host with both has its processes in both; runtimes freeze by the old one then.
        if let Some(dir) = cgroups.v1_dir("freezer") {
            return Some(Self { file: dir.join("freezer.state"), on: "FROZEN", off: "THAWED" });
        }
        let file = cgroups.v2_dir()?.join("cgroup.freeze");
        Some(Self { file, on: "1", off: "0" })
    }

    fn thaw(&self) {
        let _ = fs::write(&self.file, self.off);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_descendants_and_session_but_not_the_neighbours() {
        let all = [
            (1, 0, 1, 1),
            (10, 1, 9, 8),
            (11, 10, 11, 8),
            (12, 1, 9, 8),
            (13, 12, 13, 13),
            (14, 1, 14, 11),
            (20, 1, 19, 8),
        ];
        let all = all.map(|(pid, parent, group, session)| Relation { pid, parent, group, session });
        let mut members = family(10, &all);
        members.sort_unstable();
        assert_eq!(members, [10, 11, 12, 13, 14]);
        assert!(family(99, &all).is_empty());
    }
}
