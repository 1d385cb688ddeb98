// SPDX-License-Identifier: Apache-2.0

use std::{fs, path::Path};

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
        return;
    }
    let frozen = freeze(cgroups);
    signal_each(cgroups, signal);
    if let Some(thaw) = frozen {
        thaw();
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

/// Freezes without waiting for the last process; what it returns thaws again.
fn freeze(cgroups: &Cgroups) -> Option<impl FnOnce() + use<>> {
    let v2 = cgroups.v2_dir().map(|d| (d.join("cgroup.freeze"), "1", "0"));
    let v1 = || cgroups.v1_dir("freezer").map(|d| (d.join("freezer.state"), "FROZEN", "THAWED"));
    let (file, on, off) = v2.filter(|(f, ..)| Path::exists(f)).or_else(v1)?;
    fs::write(&file, on).ok()?;
    Some(move || {
        let _ = fs::write(&file, off);
    })
}
