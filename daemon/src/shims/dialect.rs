// SPDX-License-Identifier: Apache-2.0
//! What `start` reads from its standard input. Shims disagree, and some fail on what another
//! demands, so the right form is found once per binary.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use containerd_shim_protos::bootstrap_api::{BootstrapParams, Extension, LogLevel};
use protobuf::{Message, well_known_types::any::Any};

use super::{Options, Verbosity};

/// The form of `start`'s standard input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Found by trying: `Params` first, then `Legacy`.
    #[default]
    Auto,
    /// A `BootstrapParams` message (containerd 2.3 and later).
    Params,
    /// An `Any` with the runtime's options, or nothing (before).
    Legacy,
}

/// What both forms are made from.
pub(super) struct Input<'a> {
    pub(super) id: &'a str,
    pub(super) namespace: &'a str,
    pub(super) verbosity: Verbosity,
    pub(super) events: &'a str,
    pub(super) grpc: &'a str,
    pub(super) publisher: &'a Path,
    pub(super) socket_dir: Option<&'a Path>,
    pub(super) options: Option<&'a Options>,
}

impl Input<'_> {
    pub(super) fn params(&self) -> protobuf::Result<Vec<u8>> {
        let extension = |options: &Options| Extension {
            value: Some(options.to_any()).into(),
            ..Default::default()
        };
        let level = match self.verbosity {
            Verbosity::Normal => LogLevel::LOG_LEVEL_INFO,
            Verbosity::Debug => LogLevel::LOG_LEVEL_DEBUG,
        };
        BootstrapParams {
            instance_id: self.id.to_owned(),
            namespace: self.namespace.to_owned(),
            log_level: level.into(),
            // The containerd whose side of the protocol is spoken here.
            containerd_version: "2.3.0".to_owned(),
            containerd_ttrpc_address: self.events.to_owned(),
            containerd_grpc_address: self.grpc.to_owned(),
            containerd_binary: self.publisher.display().to_string(),
            extensions: self.options.map(extension).into_iter().collect(),
            socket_dir: self.socket_dir.map(|d| d.display().to_string()),
            ..Default::default()
        }
        .write_to_bytes()
    }

    pub(super) fn legacy(&self) -> protobuf::Result<Vec<u8>> {
        self.options.map_or_else(Any::default, Options::to_any).write_to_bytes()
    }
}

/// A binary as it was when its dialect was found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Binary {
    path: PathBuf,
    device: u64,
    inode: u64,
    modified: (i64, i64),
}

impl Binary {
    pub(super) fn look(path: &Path) -> io::Result<Self> {
        let file = fs::metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            device: file.dev(),
            inode: file.ino(),
            modified: (file.mtime(), file.mtime_nsec()),
        })
    }
}

/// Dialects found so far. An upgraded binary is another binary.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<Binary, Dialect>>);

impl Known {
    pub(super) fn get(&self, binary: &Binary) -> Dialect {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(binary).copied().unwrap_or_default()
    }

    pub(super) fn learn(&self, binary: Binary, dialect: Dialect) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|b, _| b.path != binary.path);
        known.insert(binary, dialect);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgraded_binary_is_asked_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shim");
        fs::write(&path, "old").unwrap();
        let known = Known::default();
        known.learn(Binary::look(&path).unwrap(), Dialect::Legacy);
        assert_eq!(known.get(&Binary::look(&path).unwrap()), Dialect::Legacy);
        fs::write(dir.path().join("fresh"), "new").unwrap();
        fs::rename(dir.path().join("fresh"), &path).unwrap();
        assert_eq!(known.get(&Binary::look(&path).unwrap()), Dialect::Auto);
    }
}
