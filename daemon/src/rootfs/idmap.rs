// SPDX-License-Identifier: Apache-2.0
//! Layers as a pod with a user namespace of its own has to see them: owned by its ids.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use rustix::{
    fs::CWD,
    mount::{OpenTreeFlags, UnmountFlags},
};

use super::overlay;
use crate::{images::ImageError, sys::mount::map_ids};

/// A range of ids in a user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// First id inside.
    pub container: u32,
    /// First id outside.
    pub host: u32,
    /// How many.
    pub length: u32,
}

/// A user namespace and what it maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMapping {
    /// The pinned namespace.
    pub userns: PathBuf,
    /// Its users.
    pub uids: Vec<IdRange>,
    /// Its groups.
    pub gids: Vec<IdRange>,
}

/// Whether this kernel shows overlay layers with mapped owners: since Linux 5.19.
#[must_use]
pub fn kernel_maps_layers() -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (5, 19),
        _ => false,
    }
}

impl IdMapping {
    pub(super) fn host_uid(&self, uid: u32) -> Result<u32, ImageError> {
        self.host_id(&self.uids, uid, "user")
    }

    pub(super) fn host_gid(&self, gid: u32) -> Result<u32, ImageError> {
        self.host_id(&self.gids, gid, "group")
    }

    fn host_id(&self, ranges: &[IdRange], id: u32, kind: &str) -> Result<u32, ImageError> {
        let mapped = ranges.iter().find_map(|range| {
            let offset = id.checked_sub(range.container)?;
            (offset < range.length).then(|| range.host.checked_add(offset))?
        });
        mapped.ok_or_else(|| {
            let reason = format!("{kind} {id} owns the image's top directory and is not mapped");
            ImageError::host("map ids by", &self.userns)(std::io::Error::other(reason))
        })
    }
}

/// Layers shown through a mapped mount. The mount goes with this value; an overlay made of the
/// layers meanwhile keeps what it needs.
pub(super) struct Mapped {
    scratch: PathBuf,
    lowers: Vec<PathBuf>,
}

impl Mapped {
    pub(super) fn lowers(&self) -> &[PathBuf] {
        &self.lowers
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if let Err(error) = rustix::mount::unmount(&self.scratch, UnmountFlags::DETACH) {
            tracing::warn!(path = %self.scratch.display(), %error, "a mapped mount stays");
        }
        let _ = std::fs::remove_dir(&self.scratch);
    }
}

/// Shows all of `lowers`, siblings of one directory, through one mapped mount on `scratch`.
pub(super) fn map_layers(
    lowers: &[PathBuf],
    idmap: &IdMapping,
    scratch: &Path,
) -> Result<Mapped, ImageError> {
    // LAYERS/KEY/diff: two up is the directory they share.
    let shared = lowers.first().and_then(|lower| lower.parent()?.parent());
    let shared = shared.unwrap_or(Path::new("/"));
    let mapped_names = lowers.iter().map(|lower| {
        let below = lower.strip_prefix(shared).unwrap_or(lower);
        scratch.join(below)
    });
    let lowers = mapped_names.collect();
    std::fs::create_dir_all(scratch).map_err(ImageError::host("make directory", scratch))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, shared, flags)
        .map_err(|error| ImageError::host("clone mount of", shared)(error.into()))?;
    let userns = File::open(&idmap.userns)
        .map_err(ImageError::host("open user namespace", &idmap.userns))?;
    map_ids(&tree, &userns).map_err(|error| ImageError::Kernel {
        what: "layers with mapped owners",
        reason: format!(
            "{error}; user namespaces for pods need kernel 5.19 and a filesystem with idmapped \
             mounts below {}",
            shared.display()
        ),
    })?;
    overlay::attach(&tree, scratch)?;
    Ok(Mapped { scratch: scratch.to_owned(), lowers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_mapped_by_the_range_it_is_in() {
        let range = |container, host, length| IdRange { container, host, length };
        let mapping = IdMapping {
            userns: "/ns".into(),
            uids: vec![range(0, 100_000, 10), range(10, 5, 1)],
            gids: vec![range(0, u32::MAX, 2)],
        };
        assert_eq!(mapping.host_uid(9).unwrap(), 100_009);
        assert_eq!(mapping.host_uid(10).unwrap(), 5);
        assert!(mapping.host_uid(11).unwrap_err().to_string().contains("user 11"));
        assert!(mapping.host_gid(1).is_err(), "the sum does not fit");
    }
}
