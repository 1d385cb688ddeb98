// SPDX-License-Identifier: Apache-2.0
//! A directory tree in which names never lead outside, with its open directories kept at hand.

use std::{
    collections::HashMap,
    ffi::OsStr,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    rc::Rc,
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, XattrFlags},
    io::Errno,
};

use super::{error::UnpackError, name::Place};

/// Open directories kept. Archives are written depth first, so few are in use at a time.
const KEPT: usize = 128;
/// Marks a directory whose lower content is hidden (kernel, Documentation/filesystems/overlayfs).
const OPAQUE_XATTR: &str = "trusted.overlay.opaque";
const DIR_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens `path` (from `root`, empty is `root` itself) as the kernel would in a chroot to `root`.
pub(super) fn open_inside(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(
            root,
            OsStr::from_bytes(path),
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        ) {
            // A rename elsewhere on the system raced with the kernel's check.
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
}

pub(super) struct Tree {
    root: OwnedFd,
    kept: HashMap<Vec<u8>, Rc<OwnedFd>>,
    /// Directories made because something below them was, not because the archive has them.
    undescribed: Vec<Vec<u8>>,
    made: u64,
}

impl Tree {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root, kept: HashMap::new(), undescribed: Vec::new(), made: 0 }
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Directories made on the way, so far.
    pub(super) fn made(&self) -> u64 {
        self.made
    }

    pub(super) fn into_undescribed(self) -> Vec<Vec<u8>> {
        self.undescribed
    }

    /// The archive describes `path` after all.
    pub(super) fn described(&mut self, path: &[u8]) {
        self.undescribed.retain(|other| other != path);
    }

    pub(super) fn has_undescribed(&self) -> bool {
        !self.undescribed.is_empty()
    }

    /// The directory `path`, made with all its parents if it is not there.
    pub(super) fn dir(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, UnpackError> {
        if let Some(fd) = self.kept.get(path) {
            return Ok(Rc::clone(fd));
        }
        let fd = match open_inside(self.root(), path, DIR_FLAGS) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_parents(path)?,
            Err(Errno::LOOP) => {
                return Err(UnpackError::refused(path, "a symlink on the way leads in a circle"));
            }
            Err(error) => return Err(UnpackError::host("open directory", path)(error)),
        };
        Ok(self.keep(path, fd))
    }

    fn keep(&mut self, path: &[u8], fd: OwnedFd) -> Rc<OwnedFd> {
        if self.kept.len() >= KEPT {
            self.kept.clear();
        }
        let fd = Rc::new(fd);
        self.kept.insert(path.to_vec(), Rc::clone(&fd));
        fd
    }

    fn make_parents(&mut self, path: &[u8]) -> Result<OwnedFd, UnpackError> {
        let place = Place::of(path)
            .ok_or_else(|| UnpackError::refused(path, "the layer's top is no directory"))?;
        let parent = self.dir(&place.parent)?;
        match self.make_dir(&parent, &place, 0o755)? {
            MadeDir::New => self.undescribed.push(path.to_vec()),
            MadeDir::Found => {}
            MadeDir::InTheWay => {
                return Err(UnpackError::refused(
                    path,
                    "something that is no directory is on the way to it",
                ));
            }
        }
        open_child(&parent, &place, DIR_FLAGS | OFlags::NOFOLLOW)
            .map_err(UnpackError::host("open directory", path))
    }

    /// Makes one directory. A whiteout of the same name says that the layers below have one that
    /// is not to shine through: the new directory becomes opaque.
    pub(super) fn make_dir(
        &mut self,
        parent: &OwnedFd,
        place: &Place,
        mode: u32,
    ) -> Result<MadeDir, UnpackError> {
        let name = OsStr::from_bytes(&place.name);
        match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode)) {
            Ok(()) => {
                self.made += 1;
                return Ok(MadeDir::New);
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(UnpackError::host("make directory", &place.path())(error)),
        }
        match self.found(parent, place)? {
            Found::Directory => Ok(MadeDir::Found),
            Found::Other => Ok(MadeDir::InTheWay),
            Found::Nothing => Err(UnpackError::refused(&place.path(), "it vanished meanwhile")),
            Found::Whiteout => {
                self.clear(parent, place)?;
                rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode))
                    .map_err(UnpackError::host("make directory", &place.path()))?;
                let fd = open_child(parent, place, DIR_FLAGS | OFlags::NOFOLLOW)
                    .map_err(UnpackError::host("open directory", &place.path()))?;
                set_opaque(&fd, &place.path())?;
                Ok(MadeDir::New)
            }
        }
    }

    /// What is at `place` now.
    pub(super) fn found(&self, parent: &OwnedFd, place: &Place) -> Result<Found, UnpackError> {
        let name = OsStr::from_bytes(&place.name);
        match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => Found::Directory,
                FileType::CharacterDevice if stat.st_rdev == 0 => Found::Whiteout,
                _ => Found::Other,
            }),
            Err(Errno::NOENT) => Ok(Found::Nothing),
            Err(error) => Err(UnpackError::host("look at", &place.path())(error)),
        }
    }

    /// Removes what is at `place`, with everything in it.
    pub(super) fn clear(&mut self, parent: &OwnedFd, place: &Place) -> Result<(), UnpackError> {
        let name = OsStr::from_bytes(&place.name);
        let path = place.path();
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) => {
                // It may have been a symlink by which directories were reached.
                self.forget(&path);
                return Ok(());
            }
            Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(UnpackError::host("replace", &path)(error)),
        }
        self.forget(&path);
        remove_dir(parent, &place.name).map_err(UnpackError::host("replace", &path))
    }

    fn forget(&mut self, path: &[u8]) {
        let below = |other: &[u8]| {
            let rest = other.strip_prefix(path);
            rest.is_some_and(|rest| rest.first().is_none_or(|&c| c == b'/'))
        };
        self.kept.retain(|other, _| !below(other));
        self.undescribed.retain(|other| !below(other));
    }

    /// Hides everything that the layers below have in the directory `path`.
    pub(super) fn make_opaque(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        let fd = self.dir(path)?;
        set_opaque(&fd, path)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum MadeDir {
    New,
    Found,
    InTheWay,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Directory,
    Whiteout,
    Other,
}

pub(super) fn open_child(parent: &OwnedFd, place: &Place, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        parent,
        OsStr::from_bytes(&place.name),
        flags | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

pub(super) fn set_opaque(fd: &OwnedFd, path: &[u8]) -> Result<(), UnpackError> {
    rustix::fs::fsetxattr(fd, OPAQUE_XATTR, b"y", XattrFlags::empty())
        .map_err(UnpackError::host("mark opaque", path))
}

fn remove_dir(parent: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    let fd = rustix::fs::openat(
        parent,
        OsStr::from_bytes(name),
        DIR_FLAGS | OFlags::NOFOLLOW,
        Mode::empty(),
    )?;
    for entry in rustix::fs::Dir::read_from(&fd)? {
        let entry = entry?;
        let child = entry.file_name().to_bytes();
        if matches!(child, b"." | b"..") {
            continue;
        }
        match rustix::fs::unlinkat(&fd, OsStr::from_bytes(child), AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::ISDIR | Errno::PERM) => remove_dir(&fd, child)?,
            Err(error) => return Err(error),
        }
    }
    rustix::fs::unlinkat(parent, OsStr::from_bytes(name), AtFlags::REMOVEDIR)
}
