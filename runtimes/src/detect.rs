// SPDX-License-Identifier: Apache-2.0

use std::path::{Path, PathBuf};

use crate::Kind;

/// The default runtime is the first of these that works on the host.
pub const DEFAULT_ORDER: [Kind; 3] = [Kind::Crun, Kind::Runc, Kind::Youki];

/// No OCI runtime works on this host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no OCI runtime found: none of crun, runc, youki works in {searched}")]
pub struct NoRuntime {
    searched: String,
}

/// Looks through `path` (as in `PATH`) for the first working runtime of [`DEFAULT_ORDER`].
/// `works` tells whether the file at a path can be run here; a runtime that is installed but broken
/// is passed over.
///
/// # Errors
/// [`NoRuntime`] when none is found.
pub fn first_working(
    path: &str,
    mut works: impl FnMut(Kind, &Path) -> bool,
) -> Result<(Kind, PathBuf), NoRuntime> {
    for kind in DEFAULT_ORDER {
        for dir in path.split(':').filter(|d| !d.is_empty()) {
            let binary = Path::new(dir).join(kind.name());
            if works(kind, &binary) {
                return Ok((kind, binary));
            }
        }
    }
    Err(NoRuntime { searched: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crun_comes_before_runc_wherever_they_are() {
        let has = |set: &'static [&str]| move |_, p: &Path| set.contains(&p.to_str().unwrap());
        let found = first_working("/a:/b", has(&["/a/runc", "/b/crun"])).unwrap();
        assert_eq!(found, (Kind::Crun, "/b/crun".into()));
        let found = first_working("/a::/b", has(&["/b/runc"])).unwrap();
        assert_eq!(found, (Kind::Runc, "/b/runc".into()));
        assert!(first_working("/a:/b", |_, _| false).is_err());
    }
}
