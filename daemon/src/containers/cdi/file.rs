// SPDX-License-Identifier: Apache-2.0
//! The form of a CDI file, JSON or YAML: the CDI specification 0.3 to 1.1.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::HookStage;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CdiFile {
    /// `vendor/class`.
    pub(super) kind: String,
    pub(super) devices: Vec<CdiDevice>,
    /// What every device of the file needs.
    #[serde(default)]
    pub(super) container_edits: Edits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CdiDevice {
    pub(super) name: String,
    #[serde(default)]
    pub(super) container_edits: Edits,
}

/// An edit crisp does not know must not be passed over in silence: the device would be half there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Edits {
    pub(super) env: Vec<String>,
    pub(super) device_nodes: Vec<DeviceNode>,
    pub(super) mounts: Vec<FileMount>,
    pub(super) hooks: Vec<FileHook>,
    pub(super) additional_gids: Vec<u32>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceNode {
    pub(super) path: PathBuf,
    pub(super) host_path: Option<PathBuf>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    pub(super) file_mode: Option<u32>,
    pub(super) permissions: Option<String>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileMount {
    pub(super) host_path: PathBuf,
    pub(super) container_path: PathBuf,
    #[serde(default)]
    pub(super) options: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileHook {
    pub(super) hook_name: HookStage,
    pub(super) path: PathBuf,
    #[serde(default)]
    pub(super) args: Vec<String>,
    #[serde(default)]
    pub(super) env: Vec<String>,
    pub(super) timeout: Option<i64>,
}

/// Whether a name in a CDI directory is that of a CDI file.
pub(super) fn is_cdi_file(path: &Path) -> bool {
    path.extension().is_some_and(|ext| ext == "json" || ext == "yaml" || ext == "yml")
}

/// Reads the text of a file.
pub(super) fn parse(path: &Path, text: &str) -> Result<CdiFile, String> {
    if path.extension().is_some_and(|ext| ext == "json") {
        serde_json::from_str(text).map_err(|e| e.to_string())
    } else {
        serde_saphyr::from_str(text).map_err(|e| e.to_string())
    }
}
