// SPDX-License-Identifier: Apache-2.0

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// Where one standard stream of a container goes, as written in the `stdin`, `stdout` and
/// `stderr` fields of the Task API.
///
/// Every shim understands the first two. `cri-log:` is understood by crisp's own shim only: the
/// shim itself writes the stream to a log file in the CRI format, so that no other process has
/// to live for the log to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stdio {
    /// Empty text: the null device. Output is read and dropped.
    Null,
    /// A plain path: a named pipe (or an existing regular file) that someone else serves.
    Path(PathBuf),
    /// `cri-log:/absolute/path`: a CRI log file, written by the shim. Both streams of a
    /// container may name the same file.
    CriLog(PathBuf),
    /// `cri-log:` without a path: no log file, but the shim still serves the stream to attach.
    Attach,
}

/// Text that names no stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stdio address {0:?} is neither empty, an absolute path nor cri-log:[/absolute/path]")]
pub struct InvalidStdio(String);

const CRI_LOG: &str = "cri-log:";

impl FromStr for Stdio {
    type Err = InvalidStdio;

    fn from_str(text: &str) -> Result<Self, InvalidStdio> {
        let absolute = |p: &str| Path::new(p).is_absolute();
        match text.strip_prefix(CRI_LOG) {
            Some("") => Ok(Self::Attach),
            Some(path) if absolute(path) => Ok(Self::CriLog(path.into())),
            None if text.is_empty() => Ok(Self::Null),
            None if absolute(text) => Ok(Self::Path(text.into())),
            _ => Err(InvalidStdio(text.to_owned())),
        }
    }
}

impl fmt::Display for Stdio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::CriLog(path) => write!(f, "{CRI_LOG}{}", path.display()),
            Self::Attach => f.write_str(CRI_LOG),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_back_as_written() {
        for text in ["", "/run/x/stdout", "cri-log:/var/log/pods/a b/0.log", "cri-log:"] {
            assert_eq!(text.parse::<Stdio>().unwrap().to_string(), text);
        }
        assert!("relative".parse::<Stdio>().is_err());
        assert!("cri-log:relative".parse::<Stdio>().is_err());
        assert!("file:///x".parse::<Stdio>().is_err());
    }
}
