// SPDX-License-Identifier: Apache-2.0
//! Sources of mounts on the host: there or not, and able to propagate or not.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::spec::Propagation;

/// The process's mounts, as the kernel lists them.
const MOUNTINFO: &str = "/proc/self/mountinfo";

/// What to do about a source that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingSource {
    /// Refuse the request, as CRI says.
    #[default]
    Refuse,
    /// Make a directory, as other runtimes do.
    MakeDirectory,
}

/// Why a source cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountSourceError {
    /// Not an absolute path.
    #[error("mount source {0:?} is not an absolute path")]
    NotAbsolute(PathBuf),
    /// Not there, or it cannot be looked at.
    #[error("mount source {path:?} cannot be used")]
    Unusable {
        /// The source as requested.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The mount that holds the source does not propagate as asked.
    #[error("mount source {path:?} is on a {actual} mount, which cannot propagate {asked}")]
    Propagation {
        /// The source as requested.
        path: PathBuf,
        /// How the mount propagates.
        actual: &'static str,
        /// What was asked.
        asked: &'static str,
    },
}

impl MountSourceError {
    /// Whether the source is not there, rather than the request being wrong.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Unusable { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Where a requested source really is: symbolic links resolved. Blocks.
///
/// # Errors
/// [`MountSourceError`] when it cannot be mounted as asked.
pub fn resolve_source(
    path: &Path,
    propagation: Propagation,
    missing: MissingSource,
) -> Result<PathBuf, MountSourceError> {
    let unusable = |source| MountSourceError::Unusable { path: path.to_owned(), source };
    if !path.is_absolute() {
        return Err(MountSourceError::NotAbsolute(path.to_owned()));
    }
    let real = match fs::canonicalize(path) {
        Err(e)
            if e.kind() == io::ErrorKind::NotFound && missing == MissingSource::MakeDirectory =>
        {
            fs::create_dir_all(path).and_then(|()| fs::canonicalize(path))
        }
        other => other,
    }
    .map_err(unusable)?;
    if propagation != Propagation::Private {
        let peers = read_peers(&real).map_err(unusable)?;
        check_propagation(path, propagation, peers)?;
    }
    Ok(real)
}

/// Whom a mount exchanges mounts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peers {
    Private,
    Receives,
    Shares,
}

fn check_propagation(
    path: &Path,
    propagation: Propagation,
    peers: Peers,
) -> Result<(), MountSourceError> {
    let asked = match (propagation, peers) {
        (Propagation::Private, _)
        | (_, Peers::Shares)
        | (Propagation::HostToContainer, Peers::Receives) => return Ok(()),
        (Propagation::HostToContainer, _) => "to the container",
        (Propagation::Bidirectional, _) => "both ways",
    };
    let actual = if peers == Peers::Private { "private" } else { "slave" };
    Err(MountSourceError::Propagation { path: path.to_owned(), actual, asked })
}

fn read_peers(path: &Path) -> io::Result<Peers> {
    let stat = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID)?;
    let list = fs::read(MOUNTINFO)?;
    peers_of(&list, stat.stx_mnt_id)
        .ok_or_else(|| io::Error::other("its mount is not in this mount namespace"))
}

/// A line: id, parent, device, root, mount point, options, optional fields, `-`, and more.
fn peers_of(mountinfo: &[u8], id: u64) -> Option<Peers> {
    let id = id.to_string();
    let fields = mountinfo
        .split(|c| *c == b'\n')
        .map(|line| line.split(|c| *c == b' '))
        .find(|fields| fields.clone().next() == Some(id.as_bytes()))?;
    let optional: Vec<&[u8]> = fields.skip(6).take_while(|field| *field != b"-").collect();
    let has = |tag: &[u8]| optional.iter().any(|field| field.starts_with(tag));
    Some(if has(b"shared:") {
        Peers::Shares
    } else if has(b"master:") {
        Peers::Receives
    } else {
        Peers::Private
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const LIST: &[u8] = b"21 1 8:1 / / rw shared:1 - ext4 /dev/sda rw\n\
        22 21 0:5 / /a\\040b rw master:3 propagate_from:1 - tmpfs tmpfs rw\n\
        23 21 0:6 / /shared: rw - tmpfs shared:9 rw\n\xff\xfe\n";

    #[test]
    fn a_link_is_followed_and_what_is_missing_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(dir.path()).unwrap();
        let (link, gone) = (real.join("link"), real.join("gone/deep"));
        symlink(&real, &link).unwrap();
        let resolve = |path: &Path, missing| resolve_source(path, Propagation::Private, missing);
        assert_eq!(resolve(&link, MissingSource::Refuse).unwrap(), real);
        let error = resolve(&gone, MissingSource::Refuse).unwrap_err();
        assert!(error.is_not_found() && error.to_string().contains("gone/deep"));
        assert_eq!(resolve(&gone, MissingSource::MakeDirectory).unwrap(), gone);
        assert!(gone.is_dir());
        let relative = resolve(Path::new("x"), MissingSource::Refuse);
        assert!(matches!(relative, Err(MountSourceError::NotAbsolute(_))));
    }

    #[test]
    fn peers_are_read_from_the_optional_fields_only() {
        assert_eq!(peers_of(LIST, 21), Some(Peers::Shares));
        assert_eq!(peers_of(LIST, 22), Some(Peers::Receives));
        assert_eq!(peers_of(LIST, 23), Some(Peers::Private));
        assert_eq!(peers_of(LIST, 2), None);
    }

    #[test]
    fn propagation_needs_a_mount_that_propagates() {
        let check = |asked, peers| check_propagation(Path::new("/p"), asked, peers);
        assert!(check(Propagation::Bidirectional, Peers::Shares).is_ok());
        assert!(check(Propagation::HostToContainer, Peers::Receives).is_ok());
        assert!(check(Propagation::Private, Peers::Private).is_ok());
        assert_eq!(
            check(Propagation::Bidirectional, Peers::Receives).unwrap_err().to_string(),
            "mount source \"/p\" is on a slave mount, which cannot propagate both ways"
        );
        assert!(check(Propagation::HostToContainer, Peers::Private).is_err());
    }

    #[test]
    fn the_mount_of_a_directory_is_found() {
        let dir = tempfile::tempdir().unwrap();
        read_peers(dir.path()).unwrap();
    }
}
