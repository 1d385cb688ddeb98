// SPDX-License-Identifier: Apache-2.0
//! What is remembered of a container, and written before the host is changed.

use std::path::PathBuf;

use crisp_words::{ContainerId, SandboxId};
use serde::{Deserialize, Serialize};

use super::{spec::ContainerConfig, users::ResolvedUser};
use crate::{pods::record::Answer, pods::spec::Resources, store::Record};

/// A container's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// The container.
    pub id: ContainerId,
    /// Its pod.
    pub pod: SandboxId,
    /// What was asked for.
    pub config: ContainerConfig,
    /// When CreateContainer was admitted, nanoseconds since the Unix epoch.
    pub created_at_ns: i64,
    /// Where the container is in its life.
    pub phase: Phase,
    /// Whether the client has been told the container's id.
    pub answer: Answer,
    /// Facts found out while it was made; `None` until then.
    pub made: Option<Made>,
    /// Resources in force: those asked for, with every update applied.
    pub resources: Resources,
    /// Whether what it held of the host has been put back since it ended.
    pub host: HostState,
}

/// Facts found out while a container was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Image id, `sha256:…` of its configuration.
    pub image_id: String,
    /// Digested reference of the image, or its id when it has none.
    pub image_ref: String,
    /// Tagged name of the image; empty in records of a time when it was not noted.
    #[serde(default)]
    pub image_name: String,
    /// User of the first process.
    pub user: ResolvedUser,
    /// Linux number of the signal that asks it to stop.
    pub stop_signal: i32,
    /// Absolute path of its log, or empty.
    pub log_path: PathBuf,
    /// cgroup path from the hierarchy's root.
    pub cgroup: String,
    /// Image ids of image volumes by container path, for status.
    pub image_volumes: Vec<(PathBuf, String)>,
}

/// Where a container is in its life.
///
/// ```text
///  Creating ──▶ Created ──▶ Running ──▶ Exited
///                  └── start failed ──────▲
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Being made; not listed.
    Creating,
    /// Made, its process not started.
    Created,
    /// Its process runs.
    Running(Run),
    /// Its process ended, or never came to run.
    Exited(Exit),
}

/// A running process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// When it was started, nanoseconds since the Unix epoch.
    pub started_at_ns: i64,
    /// Pid on the host; that of the VM for a VM's container.
    pub pid: u32,
}

/// An ended process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// When it was started, nanoseconds since the Unix epoch; 0 if it never was.
    pub started_at_ns: i64,
    /// When it ended, nanoseconds since the Unix epoch.
    pub finished_at_ns: i64,
    /// Exit code, 128 + n for a signal.
    pub code: i32,
    /// Why.
    pub cause: Cause,
    /// More about the cause, for people; may be empty.
    pub message: String,
}

/// Why a process ended; becomes the `reason` of a container's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// By itself or by a signal; the code tells.
    Ended,
    /// The kernel's OOM killer took it, or a process of its cgroup.
    OomKilled,
    /// It never came to run.
    StartFailed,
    /// Nobody knows: its shim died with the answer.
    Lost,
}

impl Cause {
    /// The CRI's word for it.
    #[must_use]
    pub fn reason(self, code: i32) -> &'static str {
        match self {
            Self::Ended if code == 0 => "Completed",
            Self::Ended => "Error",
            Self::OomKilled => "OOMKilled",
            Self::StartFailed => "StartError",
            Self::Lost => "Unknown",
        }
    }
}

/// Whether a container holds anything of the host beyond its record and writable layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostState {
    /// Mounts, a cgroup and a task in its shim.
    Held,
    /// Nothing any more.
    Released,
}

impl Record for ContainerRecord {
    const KIND: &'static str = "container";
    const VERSION: u32 = 1;
}

impl ContainerRecord {
    /// Whether lists and status show the container.
    #[must_use]
    pub fn is_visible(&self) -> bool {
        !matches!(self.phase, Phase::Creating)
    }

    /// The running process, if there is one.
    #[must_use]
    pub fn running(&self) -> Option<&Run> {
        match &self.phase {
            Phase::Running(run) => Some(run),
            _ => None,
        }
    }
}
