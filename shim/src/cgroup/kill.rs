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
    signal_each(cgroups, signal);
    if let Some(switch) = frozen {
        switch.thaw();
    }
}

fn signal_each(cgroups: &Cgroups, signal: Signal) {
    let mut done = Vec::new();
    for _ in 0..ROUNDS {
        let fresh: Vec<u32> = cgroups.pids().into_iter().filter(|p| !done.contains(p)).collect();
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
