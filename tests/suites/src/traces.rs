// SPDX-License-Identifier: Apache-2.0
//! What a node leaves on its host: processes, mounts, cgroups, links, addresses, firewall rules,
//! directories. A thing is the node's if it lies in the node's directory or bears an id that the
//! node's daemon ever spoke of.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use crate::{node::Node, proc};

/// How often to look before what is there counts as left: what was killed may need a moment.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(150);

/// Fails, naming each thing, if the node holds anything of the host but images.
pub async fn none_left(node: &Node) -> Result<()> {
    none_new(node, &[]).await
}

/// Fails, naming each thing, if the node holds anything that it did not hold `before`.
pub async fn none_new(node: &Node, before: &[String]) -> Result<()> {
    let mut left = Vec::new();
    for _ in 0..LOOKS {
        left = all(node)?;
        left.retain(|trace| !before.iter().any(|old| thing(old) == thing(trace)));
        if left.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("left behind:\n    {}", left.join("\n    "))
}

/// What of a trace tells it from others: a process may become another program.
fn thing(trace: &str) -> &str {
    match trace.split_once(": ") {
        Some((process, _)) if process.starts_with("process ") => process,
        _ => trace,
    }
}

/// Fails, naming each thing, if anything that bears `id` is there.
pub async fn none_of(node: &Node, id: &str) -> Result<()> {
    let others: Vec<_> = all(node)?.into_iter().filter(|trace| !trace.contains(id)).collect();
    none_new(node, &others).await
}

/// All that the node holds of the host besides images.
pub fn all(node: &Node) -> Result<Vec<String>> {
    let ids = ids(&node.log());
    let mut found: Vec<_> = processes(node, &ids)
        .into_iter()
        .map(|(pid, command)| format!("process {pid}: {command}"))
        .collect();
    found.extend(mounts(node)?);
    found.extend(cgroups(&ids));
    found.extend(firewall(&ids));
    found.extend(addresses(&node.dir().join("ipam")));
    for dir in
        ["run/sessions", "run/pods", "run/containers", "run/bundles", "run/s", "root/containers"]
    {
        found.extend(entries(&node.dir().join(dir)).map(|p| format!("entry {}", p.display())));
    }
    found.extend(files_below(&node.root().join("network")));
    found.extend(files_below(&node.run().join("runtime")));
    Ok(found)
}

/// Kills the processes that the node holds besides its daemon.
pub fn kill(node: &Node) {
    for (pid, _) in processes(node, &ids(&node.log())) {
        // One that has ended meanwhile needs no signal.
        let _ = proc::signal(pid, Signal::SIGKILL);
    }
}

/// Every id of 64 hexadecimal digits in the text.
#[must_use]
pub fn ids(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let is_id = |w: &&str| w.len() == 64 && w.bytes().all(|b| b.is_ascii_hexdigit());
    words.filter(is_id).map(str::to_owned).collect()
}

fn bears_id(text: &str, ids: &BTreeSet<String>) -> bool {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.into_iter().any(|word| ids.contains(word))
}

/// Processes besides the daemon: shims, runtimes, plugins by what they were called with,
/// containers by their cgroup. With the command line of each.
fn processes(node: &Node, ids: &BTreeSet<String>) -> Vec<(u32, String)> {
    let own = [Some(std::process::id()), node.pid().ok()];
    let dir = node.dir().to_string_lossy();
    // Another node's name may begin as this one's: n1 and n12.
    let names_it = |command: &str| {
        let mut places = command.match_indices(&*dir).map(|(at, _)| &command[at + dir.len()..]);
        places.any(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let mut found = Vec::new();
    for pid in all_pids().filter(|pid| !own.contains(&Some(*pid))) {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let command = fs::read(proc.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let called_so = names_it(&command);
        let cgroup = fs::read_to_string(proc.join("cgroup")).unwrap_or_default();
        if (called_so || bears_id(&command, ids) || bears_id(&cgroup, ids)) && is_alive(pid) {
            found.push((pid, command));
        }
    }
    found
}

/// Pids of all processes.
pub fn all_pids() -> impl Iterator<Item = u32> {
    let names = fs::read_dir("/proc").into_iter().flatten().flatten().map(|e| e.file_name());
    names.filter_map(|name| name.to_str()?.parse().ok())
}

/// Whether the process runs: one that has ended and is not yet reaped does not.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    crisp_words::runs(&fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default())
}

/// Mounts in the node's directory. That of `run/pods` onto itself stays, it makes pins seen
/// everywhere; those on root and run directory and of a second daemon are a case's own.
fn mounts(node: &Node) -> Result<Vec<String>> {
    let second = node.dir().join("other/run/pods");
    let stay = [node.root(), node.run(), node.run().join("pods"), second];
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4).map(PathBuf::from));
    let of_node = points.filter(|p| p.starts_with(node.dir()) && !stay.contains(p));
    Ok(of_node.map(|p| format!("mount {}", p.display())).collect())
}

fn cgroups(ids: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = open.pop() {
        for path in entries(&dir).filter(|p| p.is_dir() && !p.is_symlink()) {
            if bears_id(&path.to_string_lossy(), ids) {
                found.push(format!("cgroup {}", path.display()));
            }
            open.push(path);
        }
    }
    found
}

fn firewall(ids: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    for program in ["iptables-save", "ip6tables-save"] {
        // Where it is not installed there are no rules.
        let Ok(output) = Command::new(program).output() else { continue };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let rules = text.lines().filter(|l| l.starts_with("-A") && bears_id(l, ids));
        found.extend(rules.map(|rule| format!("{program}: {rule}")));
    }
    found
}

/// Addresses that host-local has given away.
fn addresses(ipam: &Path) -> Vec<String> {
    let networks = entries(ipam).flat_map(|network| entries(&network).collect::<Vec<_>>());
    let address = |p: &PathBuf| {
        let name = p.file_name().unwrap_or_default().as_bytes().to_vec();
        name != b"lock" && !name.starts_with(b"last_reserved")
    };
    networks.filter(address).map(|p| format!("address {}", p.display())).collect()
}

fn files_below(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for path in entries(&dir) {
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            } else {
                found.push(format!("file {}", path.display()));
            }
        }
    }
    found
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_in_any_surroundings() {
        let id = "ab".repeat(32);
        let found = ids(&format!("pod={id} short=abcd path=/x/crisp-{id}/y"));
        assert_eq!(found, BTreeSet::from([id.clone()]));
        assert!(bears_id(&format!("0::/crisp/{id}"), &found));
        assert!(!bears_id("0::/crisp/other", &found));
    }
}
