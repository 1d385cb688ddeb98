// SPDX-License-Identifier: Apache-2.0
//! Devices by name (Container Device Interface): vendors describe in files what a device needs in
//! a container; a request names `vendor/class=name`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::devices::ResolvedDevice;

mod file;
mod registry;

pub use registry::{CdiError, resolve};

/// What CDI devices add to a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CdiEdits {
    /// Environment, `NAME=value`.
    pub env: Vec<String>,
    /// Device nodes.
    pub devices: Vec<ResolvedDevice>,
    /// Mounts.
    pub mounts: Vec<CdiMount>,
    /// Programs that the OCI runtime runs.
    pub hooks: Vec<CdiHook>,
    /// Supplemental groups.
    pub additional_gids: Vec<u32>,
}

/// A mount of a CDI device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CdiMount {
    /// Source.
    pub host_path: PathBuf,
    /// Target.
    pub container_path: PathBuf,
    /// Mount options; always a bind.
    pub options: Vec<String>,
}

/// A program run at a point of the container's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CdiHook {
    /// When.
    pub stage: HookStage,
    /// Program.
    pub path: PathBuf,
    /// Arguments, the program's name first.
    pub args: Vec<String>,
    /// Environment.
    pub env: Vec<String>,
    /// Seconds it may take.
    pub timeout: Option<i64>,
}

/// When a hook runs: the OCI spec's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HookStage {
    /// After the namespaces are made, in the runtime's.
    CreateRuntime,
    /// Before the root is changed, in the container's mount namespace.
    CreateContainer,
    /// Just before the program, in the container.
    StartContainer,
    /// After the program started.
    Poststart,
    /// After the container is deleted.
    Poststop,
}
