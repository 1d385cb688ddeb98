// SPDX-License-Identifier: Apache-2.0
//! Loads seccomp profiles from files.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use oci_spec::runtime::LinuxSeccomp;

use super::oci_spec::SeccompChoice;
use crate::pods::spec::SecurityProfile;

/// Largest profile read, bytes.
const MAX_PROFILE: u64 = 4 << 20;

/// Why a profile cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// The path is not absolute.
    #[error("seccomp profile {0:?} is not an absolute path")]
    NotAbsolute(PathBuf),
    /// The file cannot be read.
    #[error("cannot read seccomp profile {path:?}")]
    Read {
        /// The profile.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no profile.
    #[error("seccomp profile {path:?} is not valid")]
    Invalid {
        /// The profile.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl SeccompError {
    /// Whether the file is not there, rather than the request or the file being wrong.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Finds the profile a container asks for. Blocks on a file.
///
/// # Errors
/// [`SeccompError`] when a file was asked for and is not there or no profile.
pub fn load(asked: &SecurityProfile) -> Result<SeccompChoice, SeccompError> {
    match asked {
        SecurityProfile::Unconfined => Ok(SeccompChoice::Unconfined),
        SecurityProfile::RuntimeDefault => Ok(SeccompChoice::RuntimeDefault),
        SecurityProfile::Localhost(path) => {
            // The deprecated string form of CRI carries the prefix.
            let path = Path::new(path.strip_prefix("localhost/").unwrap_or(path));
            Ok(SeccompChoice::Loaded(Box::new(read(path)?)))
        }
    }
}

fn read(path: &Path) -> Result<LinuxSeccomp, SeccompError> {
    if !path.is_absolute() {
        return Err(SeccompError::NotAbsolute(path.to_owned()));
    }
    let failed = |source| SeccompError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("it is not a regular file")));
    }
    let mut text = Vec::new();
    file.take(MAX_PROFILE + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_PROFILE {
        return Err(failed(io::Error::other("it is larger than any profile")));
    }
    serde_json::from_slice(&text)
        .map_err(|source| SeccompError::Invalid { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::{error::Error, fs};

    use super::*;

    fn localhost(path: &Path) -> Result<SeccompChoice, SeccompError> {
        load(&SecurityProfile::Localhost(path.to_str().unwrap().to_owned()))
    }

    #[test]
    fn a_profile_is_read_from_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.json");
        fs::write(
            &path,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":
               [{"names":["sethostname"],"action":"SCMP_ACT_ERRNO"}]}"#,
        )
        .unwrap();
        let SeccompChoice::Loaded(profile) = localhost(&path).unwrap() else { panic!() };
        assert_eq!(profile.syscalls().as_ref().unwrap()[0].names(), &["sethostname"]);
        let prefixed = format!("localhost/{}", path.display());
        assert!(load(&SecurityProfile::Localhost(prefixed)).is_ok());
    }

    #[test]
    fn a_missing_or_broken_profile_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.json");
        let missing = localhost(&path).unwrap_err();
        assert!(missing.is_not_found() && missing.to_string().contains("p.json"));
        fs::write(&path, r#"{"defaultAction":"SCMP_ACT_MAYBE"}"#).unwrap();
        let broken = localhost(&path).unwrap_err();
        assert!(broken.source().unwrap().to_string().contains("SCMP_ACT_MAYBE"));
        assert!(matches!(localhost(dir.path()), Err(SeccompError::Read { .. })));
        assert!(matches!(localhost(Path::new("p.json")), Err(SeccompError::NotAbsolute(_))));
    }
}
