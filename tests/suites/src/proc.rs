// SPDX-License-Identifier: Apache-2.0
//! What the kernel tells of processes.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::traces::all_pids;

/// A process, told apart from a later one of the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its pid.
    pub pid: u32,
    /// When it was started, in ticks of the host's clock.
    pub started: u64,
}

impl Process {
    /// The process that has `pid` now.
    pub fn of(pid: u32) -> Result<Self> {
        let started = crisp_words::start_time(&read(pid, "stat")?).context("no start time")?;
        Ok(Self { pid, started })
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_alive(self) -> bool {
        Self::of(self.pid).ok() == Some(self) && crate::traces::is_alive(self.pid)
    }
}

/// Memory of a process, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Its share of what it uses together with others, and all that is its own.
    pub pss: u64,
    /// What it has written to and no other has.
    pub private_dirty: u64,
}

impl Memory {
    /// Of the process now.
    pub fn of(pid: u32) -> Result<Self> {
        let text = read(pid, "smaps_rollup")?;
        Ok(Self { pss: field(&text, "Pss:")?, private_dirty: field(&text, "Private_Dirty:")? })
    }
}

/// Sends a signal.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(i32::try_from(pid)?), signal).with_context(|| format!("{signal} to {pid}"))
}

/// How many threads a process has.
pub fn threads(pid: u32) -> Result<u64> {
    field(&read(pid, "status")?, "Threads:")
}

/// How long a process has been at work, all its threads together; to the hundredth of a second.
pub fn cpu(pid: u32) -> Result<Duration> {
    let stat = read(pid, "stat")?;
    // The program's name, in parentheses, may hold anything. proc(5), fields 14 and 15.
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let fields = after_name.split(' ').skip(11).take(2);
    let ticks = fields.map(|ticks| Ok(ticks.parse::<u64>()?)).sum::<Result<u64>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// How often a process went to sleep and was pushed off its processor.
pub fn switches(pid: u32) -> Result<u64> {
    let status = read(pid, "status")?;
    Ok(field(&status, "voluntary_ctxt_switches:")? + field(&status, "nonvoluntary_ctxt_switches:")?)
}

/// How many files a process has open.
pub fn open_files(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).with_context(|| path)
}

fn field(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|rest| rest.split_whitespace().next());
    Ok(word.with_context(|| format!("no {name}"))?.parse()?)
}

/// Running processes of the program, each with its command line.
pub fn shims(program: &Path) -> impl Iterator<Item = (u32, String)> {
    all_pids().filter_map(move |pid| {
        let exe = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let ours = exe.canonicalize().ok()? == program.canonicalize().ok()?;
        ours.then(|| (pid, String::from_utf8_lossy(&command).replace('\0', " ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_this_very_process() {
        let me = std::process::id();
        assert_eq!(Process::of(me).unwrap(), Process::of(me).unwrap());
        assert!(Memory::of(me).unwrap().pss > 0);
        assert!(threads(me).unwrap() >= 1);
        assert!(switches(me).unwrap() > 0);
        assert!(open_files(me).unwrap() >= 3);
    }
}
