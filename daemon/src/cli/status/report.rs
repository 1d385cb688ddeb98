// SPDX-License-Identifier: Apache-2.0
//! What `crisp status` knows, as `--json` prints it.

use std::path::PathBuf;

use serde::Serialize;

use crate::{
    cri::report::{HandlerReport, ImagesReport, Pending, StageReport},
    pods::boot::Boot,
};

/// The whole of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) socket: PathBuf,
    /// Why the daemon did not answer; then the rest is from its records.
    pub(super) failure: Option<String>,
    pub(super) daemon: Daemon,
    pub(super) conditions: Vec<Condition>,
    pub(super) default_handler: Option<String>,
    pub(super) handlers: Vec<HandlerReport>,
    pub(super) network: Option<PathBuf>,
    pub(super) pods: Vec<Pod>,
    pub(super) images: Option<ImagesReport>,
    pub(super) disks: Vec<Disk>,
    pub(super) pending: Vec<Pending>,
    pub(super) stages: Vec<StageReport>,
}

/// The daemon's process.
#[derive(Debug, Serialize)]
pub(super) struct Daemon {
    /// Unknown without an answer.
    pub(super) version: Option<String>,
    /// The last start on record, or the one that answers.
    pub(super) boot: Option<Boot>,
    /// Whether that process lives.
    pub(super) lives: bool,
    /// Bytes that only it uses, and its share of the rest (PSS).
    pub(super) memory: Option<u64>,
}

/// A condition of the node.
#[derive(Debug, Serialize)]
pub(super) struct Condition {
    pub(super) name: String,
    pub(super) holds: bool,
    pub(super) reason: String,
    pub(super) message: String,
}

/// A pod sandbox.
#[derive(Debug, Serialize)]
pub(super) struct Pod {
    pub(super) id: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) state: &'static str,
    pub(super) handler: String,
    pub(super) shim: Shim,
    pub(super) containers: Vec<Container>,
}

/// A pod's shim.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shim {
    pub(super) pid: Option<u32>,
    pub(super) lives: bool,
    /// What it says itself; unknown if it does not answer, or nobody asked it.
    pub(super) version: Option<String>,
    /// Why it does not answer.
    pub(super) fault: Option<String>,
    /// Its PSS, bytes.
    pub(super) memory: Option<u64>,
    /// Whether the binary it runs has been replaced since it was started.
    pub(super) replaced: bool,
}

/// A container.
#[derive(Debug, Serialize)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) state: &'static str,
}

/// A filesystem that crisp fills.
#[derive(Debug, Serialize)]
pub(super) struct Disk {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) free: u64,
}

impl Disk {
    pub(super) fn of(path: PathBuf) -> Option<Self> {
        let found = rustix::fs::statvfs(&path).ok()?;
        let unit = found.f_frsize;
        Some(Self { path, bytes: found.f_blocks * unit, free: found.f_bavail * unit })
    }
}
