// SPDX-License-Identifier: Apache-2.0
//! What `start` prints: read, checked, and kept beside the bundle for the next daemon.

use std::{fs, io, path::Path};

use containerd_shim_protos::bootstrap_api::BootstrapResult as WireResult;
use protobuf::Message;
use serde::{Deserialize, Serialize};

use super::ShimError;

/// Name of the record in a bundle; containerd writes the same.
const RECORD: &str = "bootstrap.json";
/// What shims of old wrote themselves.
const ADDRESS: &str = "address";

/// Version of the Task API. The two differ in the name of the service alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskApi {
    /// `containerd.task.v2.Task`.
    V2,
    /// `containerd.task.v3.Task`.
    V3,
}

impl TaskApi {
    pub(super) fn service(self) -> &'static str {
        match self {
            Self::V2 => "containerd.task.v2.Task",
            Self::V3 => "containerd.task.v3.Task",
        }
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::V2 => Self::V3,
            Self::V3 => Self::V2,
        }
    }
}

/// Where a started shim listens and what it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapResult {
    /// Address of its socket.
    pub address: String,
    /// The Task API it says it serves.
    pub task_api: TaskApi,
}

/// The record on disk, and the JSON form of the answer.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    version: i32,
    address: String,
    protocol: String,
}

impl BootstrapResult {
    /// Reads the answer of `start` in any of its three forms: protobuf, JSON, or plain text.
    /// Protobuf holds control characters (its tags), plain text does not, JSON opens a brace.
    pub(super) fn parse(shim: &str, stdout: &[u8]) -> Result<Self, ShimError> {
        let malformed = |text: String| ShimError::malformed(shim, "start", text);
        let text = stdout.trim_ascii();
        if text.is_empty() {
            return Err(malformed("no address was printed".to_owned()));
        }
        let record = if text.starts_with(b"{") {
            serde_json::from_slice(text).map_err(|e| malformed(format!("bad JSON: {e}")))?
        } else if text.iter().any(u8::is_ascii_control) {
            let wire = WireResult::parse_from_bytes(stdout)
                .map_err(|e| malformed(format!("{:?}: {e}", String::from_utf8_lossy(text))))?;
            Record { version: wire.version, address: wire.address, protocol: wire.protocol }
        } else {
            let address = String::from_utf8(text.to_vec()).map_err(|e| malformed(e.to_string()))?;
            Record { version: 2, address, protocol: String::new() }
        };
        record.check().map_err(malformed)
    }

    /// Writes the record into `bundle`, whole or not at all.
    ///
    /// # Errors
    /// [`ShimError::File`].
    pub fn save(&self, bundle: &Path) -> Result<(), ShimError> {
        let version = match self.task_api {
            TaskApi::V2 => 2,
            TaskApi::V3 => 3,
        };
        let record =
            Record { version, address: self.address.clone(), protocol: "ttrpc".to_owned() };
        let path = bundle.join(RECORD);
        let fresh = bundle.join(".bootstrap.json");
        let write = || -> io::Result<()> {
            fs::write(&fresh, serde_json::to_vec(&record)?)?;
            fs::rename(&fresh, &path)
        };
        write().map_err(|e| ShimError::file(&path, e))
    }

    /// Reads the record from `bundle`, or the `address` file of a shim of old.
    ///
    /// # Errors
    /// [`ShimError::File`] when neither is there, [`ShimError::Malformed`].
    pub fn load(bundle: &Path) -> Result<Self, ShimError> {
        let path = bundle.join(RECORD);
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fs::read(bundle.join(ADDRESS)).map_err(|_| ShimError::file(&path, e))?
            }
            other => other.map_err(|e| ShimError::file(&path, e))?,
        };
        Self::parse(&path.display().to_string(), &bytes)
    }
}

impl Record {
    fn check(self) -> Result<BootstrapResult, String> {
        if !matches!(self.protocol.as_str(), "" | "ttrpc") {
            return Err(format!("protocol {:?} is not spoken here", self.protocol));
        }
        if self.address.is_empty() {
            return Err("the address is empty".to_owned());
        }
        let task_api = match self.version {
            2 => TaskApi::V2,
            3 => TaskApi::V3,
            other => return Err(format!("version {other} of the protocol is not spoken here")),
        };
        Ok(BootstrapResult { address: self.address, task_api })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<BootstrapResult, ShimError> {
        BootstrapResult::parse("/bin/shim", bytes)
    }

    #[test]
    fn all_three_forms_of_the_answer_are_read() {
        let expect =
            |task_api| BootstrapResult { address: "unix:///run/s/ab".to_owned(), task_api };
        assert_eq!(parse(b"unix:///run/s/ab\n").unwrap(), expect(TaskApi::V2));
        let json = br#"{"version":3,"address":"unix:///run/s/ab","protocol":"ttrpc"}"#;
        assert_eq!(parse(json).unwrap(), expect(TaskApi::V3));
        let mut wire = WireResult::new();
        wire.version = 3;
        wire.address = "unix:///run/s/ab".to_owned();
        wire.protocol = "ttrpc".to_owned();
        assert_eq!(parse(&wire.write_to_bytes().unwrap()).unwrap(), expect(TaskApi::V3));
    }

    #[test]
    fn an_answer_that_cannot_be_used_is_refused_with_its_cause() {
        for (bytes, cause) in [
            (&b""[..], "no address"),
            (br#"{"version":4,"address":"unix:///a","protocol":"ttrpc"}"#, "version 4"),
            (br#"{"version":3,"address":"unix:///a","protocol":"grpc"}"#, "grpc"),
            (br#"{"version":3,"address":"","protocol":"ttrpc"}"#, "empty"),
            (b"{", "JSON"),
        ] {
            let error = parse(bytes).unwrap_err().to_string();
            assert!(error.contains(cause), "{error}");
        }
    }

    #[test]
    fn a_saved_record_is_loaded_back_and_old_address_files_too() {
        let bundle = tempfile::tempdir().unwrap();
        assert!(matches!(BootstrapResult::load(bundle.path()), Err(ShimError::File { .. })));
        fs::write(bundle.path().join(ADDRESS), "unix:///run/old").unwrap();
        assert_eq!(BootstrapResult::load(bundle.path()).unwrap().task_api, TaskApi::V2);
        let saved =
            BootstrapResult { address: "unix:///run/new".to_owned(), task_api: TaskApi::V3 };
        saved.save(bundle.path()).unwrap();
        assert_eq!(BootstrapResult::load(bundle.path()).unwrap(), saved);
    }
}
