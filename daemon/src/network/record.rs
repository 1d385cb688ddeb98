// SPDX-License-Identifier: Apache-2.0

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use crisp_words::SandboxId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::store::{self, Record, RecordError};

/// What must be undone for a pod, written before the first plugin is called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct AttachmentRecord {
    pub(super) pod: SandboxId,
    /// The network as it was configured at ADD.
    pub(super) conf: Value,
    pub(super) netns: PathBuf,
    pub(super) interface: String,
    pub(super) args: String,
    /// Capabilities as they were offered at ADD.
    pub(super) offered: Map<String, Value>,
    pub(super) phase: AttachmentPhase,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum AttachmentPhase {
    /// ADD was about to be called, and may have been.
    Adding,
    /// ADD succeeded.
    Added {
        /// Its result.
        result: Value,
    },
}

impl Record for AttachmentRecord {
    const KIND: &'static str = "network attachment";
    const VERSION: u32 = 1;
}

pub(super) fn path(directory: &Path, pod: &SandboxId) -> PathBuf {
    directory.join(format!("{pod}.json"))
}

/// Writes the record. That it reaches the disk is seen to, but not waited for: until then a
/// crash of the machine can take no more than a crash a moment earlier would have.
pub(super) async fn write(path: PathBuf, record: AttachmentRecord) -> Result<(), RecordError> {
    let written = path.clone();
    let done = tokio::task::spawn_blocking(move || store::write(&written, &record)).await;
    done.map_err(|gone| RecordError::Io {
        kind: AttachmentRecord::KIND,
        path: path.clone(),
        source: std::io::Error::other(gone),
    })??;
    tokio::task::spawn_blocking(move || {
        if let Err(error) = File::open(&path).and_then(|file| file.sync_all())
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "network record is not on disk yet");
        }
    });
    Ok(())
}

/// Pods that have a record, damaged ones too.
pub(super) fn pods(directory: &Path) -> std::io::Result<Vec<SandboxId>> {
    let mut pods: Vec<SandboxId> = fs::read_dir(directory)?
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            SandboxId::new(name.to_str()?.strip_suffix(".json")?).ok()
        })
        .collect();
    pods.sort();
    Ok(pods)
}
