// SPDX-License-Identifier: Apache-2.0
//! Single values and the error that names the field they came from.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use crate::pods::spec::Pairs;

/// A request that says something it must not. `INVALID_ARGUMENT` on the wire.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Invalid {
    /// Path of the field in the request, such as `config.linux.security_context.run_as_group`.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Invalid {
    /// An error of `field`.
    #[must_use]
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

/// Labels or annotations, from the wire.
#[must_use]
pub fn pairs(map: HashMap<String, String>) -> Pairs {
    map.into_iter().collect()
}

/// Labels or annotations, to the wire.
#[must_use]
pub fn to_map(pairs: &Pairs) -> HashMap<String, String> {
    pairs.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// Refuses a zero byte, which no path, argument or variable can carry to a process.
pub(super) fn no_nul(field: &str, bytes: &[u8]) -> Result<(), Invalid> {
    if bytes.contains(&0) { Err(Invalid::new(field, "holds a zero byte")) } else { Ok(()) }
}

/// A path that must be absolute.
pub(super) fn absolute(field: &str, path: String) -> Result<PathBuf, Invalid> {
    no_nul(field, path.as_bytes())?;
    if Path::new(&path).is_absolute() {
        Ok(path.into())
    } else {
        Err(Invalid::new(field, format!("{path:?} is not an absolute path")))
    }
}

/// A user or group id. The highest 32-bit number means "none" to the kernel.
pub(super) fn kernel_id(field: &str, id: i64) -> Result<u32, Invalid> {
    u32::try_from(id)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| Invalid::new(field, format!("{id} is not a user or group id")))
}

/// A number of an enum that this version of the API has no name for.
pub(super) fn unknown_number(field: &str, number: i32) -> Invalid {
    Invalid::new(field, format!("{number} is not a known value"))
}

/// A path in text form, for the wire.
pub(super) fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
