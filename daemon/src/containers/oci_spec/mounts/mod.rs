// SPDX-License-Identifier: Apache-2.0
//! What is mounted in a container, and in which order: the kernel's file systems first, then the
//! pod's files and the request's mounts, parents before children.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Mount;

use super::{SpecError, SpecInput};
use crate::containers::spec::Propagation;

mod kernel;
mod pod;
mod requested;

pub(super) use kernel::v1_hierarchies;

/// The mounts of a container.
pub(super) struct Mounts {
    pub(super) list: Vec<Mount>,
    /// Propagation of the root, where a mount needs more than the runtime's own choice.
    pub(super) rootfs_propagation: Option<&'static str>,
}

pub(super) fn mounts(input: &SpecInput<'_>) -> Result<Mounts, SpecError> {
    let mut own = requested::mounts(input)?;
    let mut list = kernel::mounts(input);
    list.retain(|mount| !is_replaced(mount.destination(), &own));
    let mut given = pod::mounts(input);
    given.retain(|mount| own.iter().all(|o| o.destination() != mount.destination()));
    given.append(&mut own);
    given.sort_by_key(|mount| mount.destination().components().count());
    list.append(&mut given);
    Ok(Mounts { list, rootfs_propagation: rootfs_propagation(input) })
}

/// A file system of the kernel gives way to a request for its place. A request for `/dev` also
/// takes the place of what would have been mounted in it.
fn is_replaced(place: &Path, requested: &[Mount]) -> bool {
    let dev = Path::new("/dev");
    let takes = |target: &Path| target == place || (target == dev && place.starts_with(dev));
    requested.iter().any(|mount| takes(mount.destination()))
}

/// What a mount receives or sends has to pass the container's root.
fn rootfs_propagation(input: &SpecInput<'_>) -> Option<&'static str> {
    let any = |wanted| input.mounts.iter().any(|mount| mount.request.propagation == wanted);
    if any(Propagation::Bidirectional) {
        Some("rshared")
    } else {
        any(Propagation::HostToContainer).then_some("rslave")
    }
}

/// A mount of the type `kind`.
fn mount(kind: &str, source: impl Into<PathBuf>, target: &Path, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount.set_typ(Some(kind.to_owned()));
    mount.set_source(Some(source.into()));
    mount.set_destination(target.to_owned());
    mount.set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
    mount
}

/// `path` without `.`, `..` and doubled slashes; `None` unless it is absolute and below the root.
fn normal_target(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::from("/");
    for part in path.is_absolute().then(|| path.components())? {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    (clean != Path::new("/")).then_some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_absolute_and_below_the_root() {
        assert_eq!(normal_target(Path::new("/a//b/../c/.")), Some("/a/c".into()));
        assert_eq!(normal_target(Path::new("/../a")), Some("/a".into()));
        for bad in ["", "a", "/", "/a/..", "./a"] {
            assert_eq!(normal_target(Path::new(bad)), None, "{bad:?}");
        }
    }
}
