// SPDX-License-Identifier: Apache-2.0
//! Cgroups for pods: made before a pod and removed after it, as a kubelet does.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

const ROOT: &str = "/sys/fs/cgroup";
/// The parent of all cgroups of the suite.
const PARENT: &str = "crisp-conformance";
/// What pods may be limited by.
const CONTROLLERS: [&str; 6] = ["cpu", "cpuset", "hugetlb", "io", "memory", "pids"];

/// A pod's cgroup in every hierarchy of the host.
#[derive(Debug, Clone)]
pub struct PodCgroup {
    name: String,
}

impl PodCgroup {
    /// Makes it.
    pub fn make(name: &str) -> Result<Self> {
        let cgroup = Self { name: name.to_owned() };
        for hierarchy in hierarchies()? {
            make_below(&hierarchy, PARENT)?;
            make_below(&hierarchy.join(PARENT), name)?;
        }
        Ok(cgroup)
    }

    /// As `cgroup_parent` wants it.
    pub fn path(&self) -> String {
        format!("/{PARENT}/{}", self.name)
    }

    /// The processes below it, not counting those directly in it.
    pub fn processes_below(&self) -> Result<Vec<String>> {
        let mut processes = Vec::new();
        for directory in self.directories()? {
            for child in children(&directory) {
                collect_processes(&child, &mut processes);
            }
        }
        Ok(processes)
    }

    /// It is there in all hierarchies.
    pub fn exists(&self) -> Result<bool> {
        Ok(self.directories()?.iter().all(|d| d.is_dir()))
    }

    /// Removes it with what a runtime may have left below it.
    ///
    /// # Errors
    /// If processes stay in it.
    pub async fn remove(&self) -> Result<()> {
        let start = Instant::now();
        for directory in self.directories()? {
            while let Err(error) = remove_tree(&directory) {
                if start.elapsed() > Duration::from_secs(10) {
                    return Err(error).with_context(|| format!("rmdir {}", directory.display()));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            // Other cases may have theirs there.
            let _ = fs::remove_dir(directory.with_file_name(""));
        }
        Ok(())
    }

    fn directories(&self) -> Result<Vec<PathBuf>> {
        let hierarchies = hierarchies()?;
        Ok(hierarchies.iter().map(|h| h.join(PARENT).join(&self.name)).collect())
    }
}

/// The host has cgroup v2 alone.
pub fn is_unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

fn hierarchies() -> Result<Vec<PathBuf>> {
    if is_unified() {
        return Ok(vec![PathBuf::from(ROOT)]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(ROOT).with_context(|| format!("read {ROOT}"))? {
        let entry = entry?;
        // Links are other names of the same hierarchies.
        if entry.file_type()?.is_dir() && entry.path().join("cgroup.procs").exists() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn make_below(parent: &Path, name: &str) -> Result<()> {
    if is_unified() {
        for controller in CONTROLLERS {
            // Not every kernel has all of them.
            let _ = fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
    let directory = parent.join(name);
    match fs::create_dir(&directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("mkdir {}", directory.display()));
        }
        _ => (),
    }
    // A cpuset of v1 begins empty, and takes no process so.
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if !is_unified()
            && let Ok(value) = fs::read_to_string(parent.join(file))
        {
            fs::write(directory.join(file), value)
                .with_context(|| format!("write {file} of {}", directory.display()))?;
        }
    }
    Ok(())
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

fn collect_processes(directory: &Path, processes: &mut Vec<String>) {
    let own = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    processes.extend(own.lines().map(str::to_owned));
    for child in children(directory) {
        collect_processes(&child, processes);
    }
}

fn remove_tree(directory: &Path) -> Result<(), Error> {
    for child in children(directory) {
        remove_tree(&child)?;
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
