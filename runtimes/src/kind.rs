// SPDX-License-Identifier: Apache-2.0

use std::{fmt, path::Path, str::FromStr};

/// An OCI runtime whose command line and errors are known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The reference runtime, in Go.
    Runc,
    /// The fast one, in C.
    Crun,
    /// The one in Rust.
    Youki,
    /// gVisor.
    Runsc,
}

/// A name that is no runtime known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("OCI runtime kind {0:?} is not one of crun, runc, youki, runsc")]
pub struct UnknownKind(String);

/// How a signal reaches a container's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signalling {
    /// The process is an ordinary one of this host: signal it by its pidfd.
    Direct,
    /// The pid stands for something else (a sandbox); only the runtime can signal inside.
    ThroughRuntime,
}

impl Kind {
    /// Every kind, for tests and error texts.
    pub const ALL: [Self; 4] = [Self::Runc, Self::Crun, Self::Youki, Self::Runsc];

    /// The name as written in configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
            Self::Youki => "youki",
            Self::Runsc => "runsc",
        }
    }

    /// Guesses the kind from a binary's file name (`/usr/bin/crun`, `runc-1.3`). A name that says
    /// nothing is taken for runc, whose command line the others imitate.
    #[must_use]
    pub fn of_binary(path: &Path) -> Self {
        let name = path.file_name().map(|n| n.to_string_lossy()).unwrap_or_default();
        let named = |kind: &Self| name.starts_with(kind.name()) || name.ends_with(kind.name());
        Self::ALL.into_iter().find(named).unwrap_or(Self::Runc)
    }

    /// How this runtime's containers are signalled.
    #[must_use]
    pub fn signalling(self) -> Signalling {
        match self {
            Self::Runc | Self::Crun | Self::Youki => Signalling::Direct,
            Self::Runsc => Signalling::ThroughRuntime,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|k| k.name() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_back_from_its_name_and_its_binary() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(Kind::of_binary(&Path::new("/usr/sbin").join(kind.name())), kind);
        }
        assert!("docker".parse::<Kind>().is_err());
        assert_eq!(Kind::of_binary(Path::new("/opt/crun-1.28-static")), Kind::Crun);
        assert_eq!(Kind::of_binary(Path::new("/opt/thing")), Kind::Runc);
    }
}
