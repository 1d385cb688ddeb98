// SPDX-License-Identifier: Apache-2.0
//! The report for people.

use std::fmt::Write;

use super::report::{Pod, Report};
use crate::cri::report::{Pending, StageReport};

/// The report as text; `now_ns` is the time since the Unix epoch.
pub(super) fn text(report: &Report, now_ns: i64) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut out, report, now_ns);
    out
}

fn write_all(out: &mut String, report: &Report, now_ns: i64) -> std::fmt::Result {
    daemon(out, report, now_ns)?;
    for condition in &report.conditions {
        let word = if condition.holds { "yes" } else { "NO" };
        write!(out, "{:<14}{word}", condition.name)?;
        if !condition.holds {
            write!(out, "  {}: {}", condition.reason, condition.message)?;
        }
        out.push('\n');
    }
    if let Some(file) = &report.network {
        writeln!(out, "{:<14}{}", "network", file.display())?;
    }
    for handler in &report.handlers {
        let default = report.default_handler.as_ref() == Some(&handler.name);
        let mark = if default { " (default)" } else { "" };
        writeln!(
            out,
            "{:<14}{}{mark}: {}",
            "handler",
            handler.name,
            handler.runtime.as_ref().unwrap_or(&handler.shim).display()
        )?;
    }
    if let Some(images) = &report.images {
        write!(out, "{:<14}{}", "images", images.count)?;
        if let Some(bytes) = images.bytes {
            write!(out, ", {} of layers", size(bytes))?;
        }
        out.push('\n');
    }
    for disk in &report.disks {
        let (free, all) = (size(disk.free), size(disk.bytes));
        writeln!(out, "{:<14}{}: {free} of {all} free", "disk", disk.path.display())?;
    }
    pods(out, &report.pods)?;
    pending(out, &report.pending)?;
    stages(out, &report.stages, now_ns)
}

fn daemon(out: &mut String, report: &Report, now_ns: i64) -> std::fmt::Result {
    let daemon = &report.daemon;
    if let Some(failure) = &report.failure {
        writeln!(out, "THE DAEMON DOES NOT ANSWER: {failure}")?;
        match (&daemon.boot, daemon.lives) {
            (Some(boot), true) => writeln!(out, "its process, {}, lives", boot.pid)?,
            (Some(boot), false) => {
                let ago = age(now_ns - boot.started_at_ns);
                writeln!(out, "it was pid {}, started {ago} ago, and is gone", boot.pid)?;
            }
            (None, _) => writeln!(out, "there is no record of one since this machine booted")?,
        }
        writeln!(out, "what follows is from its records")?;
    }
    if let Some(version) = &daemon.version {
        writeln!(out, "{:<14}{version}", "crisp")?;
    }
    writeln!(out, "{:<14}{}", "socket", report.socket.display())?;
    if let Some(boot) = daemon.boot.filter(|_| daemon.lives) {
        let memory = daemon.memory.map_or_else(|| "-".to_owned(), size);
        let (pid, up, starts) = (boot.pid, age(now_ns - boot.started_at_ns), boot.starts);
        writeln!(out, "{:<14}pid {pid}, {memory}, up {up}, start {starts} since boot", "daemon")?;
    }
    Ok(())
}

fn pods(out: &mut String, pods: &[Pod]) -> std::fmt::Result {
    let ready = pods.iter().filter(|pod| pod.state == "ready").count();
    let containers: Vec<_> = pods.iter().flat_map(|pod| &pod.containers).collect();
    let running = containers.iter().filter(|container| container.state == "running").count();
    writeln!(
        out,
        "\n{} pods, {ready} ready; {} containers, {running} running",
        pods.len(),
        containers.len()
    )?;
    if pods.is_empty() {
        return Ok(());
    }
    let name = |pod: &Pod| format!("{}/{}", pod.namespace, pod.name);
    let width = pods.iter().map(|pod| name(pod).chars().count()).max().unwrap_or(0).max(4);
    let head = ["POD", "STATE", "HANDLER", "SHIM", "VERSION", "MEMORY", "CONTAINERS"];
    let [id, state, handler, shim, version, memory, running] = head;
    writeln!(
        out,
        "{id:<14}{:<width$}  {state:<14}{handler:<10}{shim:<9}{version:<10}{memory:<11}{running}",
        "NAME"
    )?;
    for pod in pods {
        let shim = &pod.shim;
        let pid = shim.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let memory = shim.memory.map_or_else(|| "-".to_owned(), size);
        let version = shim.version.as_deref().unwrap_or("-");
        let short: String = pod.id.chars().take(12).collect();
        let running = pod.containers.iter().filter(|c| c.state == "running").count();
        write!(
            out,
            "{short:<14}{:<width$}  {:<14}{:<10}{pid:<9}{version:<10}{memory:<11}{running}/{}",
            name(pod),
            pod.state,
            pod.handler,
            pod.containers.len()
        )?;
        if let Some(fault) = &shim.fault {
            write!(out, "  shim: {fault}")?;
        } else if shim.replaced {
            write!(out, "  shim: its binary has been replaced")?;
        }
        out.push('\n');
    }
    Ok(())
}

fn pending(out: &mut String, pending: &[Pending]) -> std::fmt::Result {
    if pending.is_empty() {
        return writeln!(out, "\nno clean-up is pending");
    }
    writeln!(out, "\npending clean-ups")?;
    for Pending { object, what } in pending {
        writeln!(out, "  {object}: {what}")?;
    }
    Ok(())
}

fn stages(out: &mut String, stages: &[StageReport], now_ns: i64) -> std::fmt::Result {
    if stages.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nunder way")?;
    for stage in stages {
        let since = age(now_ns - stage.since_ns);
        write!(out, "  {}: {} for {since}", stage.object, stage.stage)?;
        if stage.over {
            write!(out, ", LONGER than its {} s", stage.limit_s.unwrap_or_default())?;
        }
        out.push('\n');
    }
    Ok(())
}

/// A number of bytes in the largest unit of which there is one.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = (bytes.max(1).ilog2() / 10).min(4);
    let whole = bytes >> (10 * power);
    let tenths = ((bytes >> (10 * power.saturating_sub(1))) % 1024) * 10 / 1024;
    let unit = UNITS[power as usize];
    if power == 0 || whole >= 100 {
        format!("{whole} {unit}")
    } else {
        format!("{whole}.{tenths} {unit}")
    }
}

/// A span of time, in its two largest units.
fn age(nanoseconds: i64) -> String {
    let seconds = nanoseconds.max(0) / 1_000_000_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_for_people() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(250 * 1024), "250 KiB");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(3 << 30), "3.0 GiB");
        assert_eq!(age(-1), "0 s");
        assert_eq!(age(61_000_000_000), "1 min 1 s");
        assert_eq!(age(90_000 * 1_000_000_000), "1 d 1 h");
    }

    #[test]
    fn a_stage_beyond_its_limit_stands_out() {
        let stage = |over| StageReport {
            object: "p1".into(),
            stage: "network".into(),
            since_ns: 0,
            limit_s: Some(60),
            over,
        };
        let mut out = String::new();
        stages(&mut out, &[stage(false), stage(true)], 61_000_000_000).unwrap();
        assert_eq!(
            out,
            "\nunder way\n  p1: network for 1 min 1 s\n  p1: network for 1 min 1 s, LONGER than its 60 s\n"
        );
    }
}
