// SPDX-License-Identifier: Apache-2.0

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// Something kept in a file of its own.
pub trait Record: Serialize + DeserializeOwned {
    /// What it is, for messages.
    const KIND: &'static str;
    /// The newest format this build reads, and the one it writes.
    const VERSION: u32;
}

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// There is none.
    #[error("{kind} record {path} does not exist")]
    Missing {
        /// Kind of record.
        kind: &'static str,
        /// File.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("{kind} record {path}: {source}")]
    Io {
        /// Kind of record.
        kind: &'static str,
        /// File.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The file is not such a record.
    #[error("{kind} record {path} is damaged: {source}")]
    Damaged {
        /// Kind of record.
        kind: &'static str,
        /// File.
        path: PathBuf,
        /// Cause.
        source: serde_json::Error,
    },
    /// The record was written by a newer crisp. It is left as it is.
    #[error("{kind} record {path} has format {found}, newer than this crisp's {known}")]
    Newer {
        /// Kind of record.
        kind: &'static str,
        /// File.
        path: PathBuf,
        /// Format of the file.
        found: u64,
        /// Newest format known here.
        known: u32,
    },
}

const VERSION_KEY: &str = "version";

/// End of the name of a record that is being written.
const UNFINISHED: &str = ".new";

/// Writes a record: to a temporary name in the same directory, then renamed, so that a reader
/// sees the old or the new one. Not synced: records live on a tmpfs and end with the boot.
///
/// # Errors
/// [`RecordError::Io`] or, for a value JSON cannot hold, [`RecordError::Damaged`].
pub fn write<R: Record>(path: &Path, record: &R) -> Result<(), RecordError> {
    let damaged = |source| RecordError::Damaged { kind: R::KIND, path: path.to_owned(), source };
    let failed = |source| RecordError::Io { kind: R::KIND, path: path.to_owned(), source };
    let Value::Object(fields) = serde_json::to_value(record).map_err(damaged)? else {
        return Err(failed(io::Error::other("a record must be a JSON object")));
    };
    let mut object = Map::new();
    object.insert(VERSION_KEY.into(), R::VERSION.into());
    object.extend(fields);
    let text = serde_json::to_vec(&object).map_err(damaged)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(UNFINISHED);
    let temporary = PathBuf::from(temporary);
    let written = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // Nothing refers to the temporary name; a full disk must not keep it.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(failed)
}

/// Reads a record.
///
/// # Errors
/// See [`RecordError`]; a record of a newer format is refused and stays untouched.
pub fn read<R: Record>(path: &Path) -> Result<R, RecordError> {
    let damaged = |source| RecordError::Damaged { kind: R::KIND, path: path.to_owned(), source };
    let text = fs::read(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => RecordError::Missing { kind: R::KIND, path: path.to_owned() },
        _ => RecordError::Io { kind: R::KIND, path: path.to_owned(), source },
    })?;
    let mut object: Map<String, Value> = serde_json::from_slice(&text).map_err(damaged)?;
    let found = object.remove(VERSION_KEY).and_then(|v| v.as_u64()).unwrap_or(0);
    if found > u64::from(R::VERSION) {
        return Err(RecordError::Newer {
            kind: R::KIND,
            path: path.to_owned(),
            found,
            known: R::VERSION,
        });
    }
    serde_json::from_value(Value::Object(object)).map_err(damaged)
}

/// Removes a record; one that is not there is as good as removed.
///
/// # Errors
/// The file system's error.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Removes from a directory of records what a daemon was killed in the middle of writing: of a
/// first record nothing has been done yet, and of a later one the former is there. For a start,
/// when nobody writes.
///
/// # Errors
/// The file system's error.
pub fn drop_unfinished(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let record = name.to_str().and_then(|name| name.strip_suffix(UNFINISHED));
        if record.is_some_and(|record| record.ends_with(".json")) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Thing {
        name: String,
    }

    impl Record for Thing {
        const KIND: &'static str = "thing";
        const VERSION: u32 = 3;
    }

    #[test]
    fn a_record_is_read_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("thing.json");
        let thing = Thing { name: "a".into() };
        write(&path, &thing).unwrap();
        assert_eq!(read::<Thing>(&path).unwrap(), thing);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_newer_record_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("thing.json");
        fs::write(&path, r#"{"version":4,"name":"a","more":1}"#).unwrap();
        assert!(matches!(read::<Thing>(&path), Err(RecordError::Newer { found: 4, .. })));
        assert!(path.exists());
    }

    #[test]
    fn a_torn_record_is_damaged_not_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("thing.json");
        fs::write(&path, r#"{"version":3,"na"#).unwrap();
        assert!(matches!(read::<Thing>(&path), Err(RecordError::Damaged { .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(read::<Thing>(&path), Err(RecordError::Missing { .. })));
    }
}
