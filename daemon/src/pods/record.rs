// SPDX-License-Identifier: Apache-2.0
//! What is remembered of a pod sandbox, and written before the host is changed.

use std::{net::IpAddr, path::PathBuf};

use crisp_words::SandboxId;
use serde::{Deserialize, Serialize};

use super::spec::PodConfig;
use crate::store::Record;

/// A pod sandbox's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRecord {
    /// The sandbox.
    pub id: SandboxId,
    /// What was asked for.
    pub config: PodConfig,
    /// Handler as requested; empty for the default. Echoed in status.
    pub requested_handler: String,
    /// Handler in use.
    pub handler: String,
    /// When RunPodSandbox was admitted, nanoseconds since the Unix epoch.
    pub created_at_ns: i64,
    /// Where the sandbox is in its life.
    pub phase: PodPhase,
    /// Whether the client has been told the sandbox's id. An identical retry may claim a
    /// sandbox whose answer was lost; once told, the same metadata is a conflict.
    pub answer: Answer,
    /// Addresses, the primary one first; empty with host networking.
    pub ips: Vec<IpAddr>,
    /// The pod's cgroup.
    pub cgroup: PodCgroup,
    /// The pod's shim, once it was started.
    pub shim: Option<ShimRecord>,
}

/// Where a sandbox is in its life.
///
/// ```text
///  Creating ──▶ Ready ──▶ Stopping ──▶ NotReady ──▶ (gone)
///      └───────────────────────────────▲   undo failed, shim died
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodPhase {
    /// Being made; not listed.
    Creating,
    /// Usable.
    Ready,
    /// Being stopped; listed as not ready.
    Stopping,
    /// Not usable. `pending` names what of the host could not yet be put back.
    NotReady {
        /// Steps that are still to be undone, with the reason of the last failure.
        pending: Vec<String>,
    },
}

/// Whether a client has been told of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Not yet, or the client was gone when it was.
    Pending,
    /// Told.
    Given,
}

/// The cgroup that bounds a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodCgroup {
    /// Path from the hierarchy's root, with a leading slash; a slice's path under systemd.
    pub path: String,
    /// Who makes and removes it.
    pub owner: CgroupOwner,
}

/// Who makes and removes a pod's cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CgroupOwner {
    /// The client (the kubelet).
    Client,
    /// crisp, because the client named none.
    Crisp,
}

/// How to reach a pod's shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimRecord {
    /// Address that the shim printed.
    pub address: String,
    /// Version of the Task API it serves.
    pub task_api: u32,
    /// Its pid on the host.
    pub pid: u32,
    /// The binary it was started from.
    pub binary: PathBuf,
    /// Who made it, and so what it serves.
    #[serde(default)]
    pub maker: Maker,
}

/// Who made a shim.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Maker {
    /// crisp: it serves sandboxes and Pod I/O, and leaves a record of each exit.
    #[default]
    Crisp,
    /// Another: it serves the Task service; a sandbox is a container to it.
    Other,
}

impl Record for PodRecord {
    const KIND: &'static str = "pod";
    const VERSION: u32 = 1;
}

impl PodRecord {
    /// Whether lists and status show the sandbox.
    #[must_use]
    pub fn is_visible(&self) -> bool {
        !matches!(self.phase, PodPhase::Creating)
    }

    /// Whether containers may be made in it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.phase, PodPhase::Ready)
    }
}
