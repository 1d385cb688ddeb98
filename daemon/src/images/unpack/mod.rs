// SPDX-License-Identifier: Apache-2.0
//! Turns a layer's tar stream into a directory that overlayfs can use as a lower layer.
//!
//! A layer is a change set (image-spec, layer.md): `.wh.NAME` deletes NAME of the layers below,
//! `.wh..wh..opq` hides all of a directory's lower content. Overlayfs writes the first as a
//! character device 0/0 and the second as an xattr, so that is what they become here.
//!
//! The archive is hostile until proven otherwise. Every name is resolved by the kernel with the
//! layer's directory as root (`openat2`, `RESOLVE_IN_ROOT`), so neither `..` nor any symlink leads
//! out of it, whatever else writes there meanwhile.

mod apply;
mod error;
mod inherit;
mod name;
mod stream;
mod tree;

use std::{io::Read, os::fd::OwnedFd, path::PathBuf};

pub use error::UnpackError;
pub(crate) use inherit::inherit;
pub(crate) use stream::{DiffStream, decompressor};

/// How much a layer may hold before it is refused.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Entries in the archive.
    pub entries: u64,
    /// Bytes of the uncompressed archive.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 10_000_000, bytes: 256 << 30 }
    }
}

/// Owner and mode of a layer's top directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TopDir {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

/// What unpacking a layer brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// Bytes the files take on disk, in whole blocks.
    pub(crate) bytes: u64,
    /// Files, directories and so on that were made.
    pub(crate) inodes: u64,
    /// The top directory, if the archive describes it.
    pub(crate) top: Option<TopDir>,
    /// Directories that the archive uses but does not describe. Their owner, mode and time are
    /// those of the layers below.
    pub(crate) undescribed: Vec<PathBuf>,
    /// Hard links (name, target) to files that only layers below can have.
    pub(crate) links_below: Vec<(PathBuf, PathBuf)>,
}

impl Unpacked {
    /// Whether the directory is the same whatever layers are below it.
    pub(crate) fn stands_alone(&self) -> bool {
        self.undescribed.is_empty() && self.links_below.is_empty()
    }
}

/// Unpacks the tar stream `from` into the empty directory `into`.
///
/// # Errors
/// Names the entry and the reason. The directory is then half filled; delete it.
pub(crate) fn unpack(
    from: impl Read,
    into: OwnedFd,
    limits: Limits,
) -> Result<Unpacked, UnpackError> {
    apply::Applier::new(into, limits).run(from)
}
