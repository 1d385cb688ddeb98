// SPDX-License-Identifier: Apache-2.0
//! Applies the archive's entries one after the other.

use std::{
    ffi::OsStr,
    fs::File,
    io::{Read, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::PathBuf,
};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags},
    io::Errno,
};
use tar::EntryType;

use super::{
    Limits, TopDir, Unpacked,
    error::UnpackError,
    name::{self, Meaning, Place},
    tree::{Found, MadeDir, Tree, open_inside},
};

const BLOCK: u64 = 4096;
const COPY_BUFFER: usize = 128 * 1024;
const XATTR_PREFIX: &str = "SCHILY.xattr.";
const FILE_FLAGS: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW);

/// What an entry says about the object besides its content.
struct Meta {
    uid: u32,
    gid: u32,
    mode: u32,
    times: Timestamps,
    xattrs: Vec<(String, Vec<u8>)>,
}

pub(super) struct Applier {
    tree: Tree,
    limits: Limits,
    done: Unpacked,
    /// Directories get their times last: making files in them changes these.
    dir_times: Vec<(Vec<u8>, Timestamps)>,
    buffer: Vec<u8>,
}

impl Applier {
    pub(super) fn new(root: OwnedFd, limits: Limits) -> Self {
        Self {
            tree: Tree::new(root),
            limits,
            done: Unpacked::default(),
            dir_times: Vec::new(),
            buffer: vec![0; COPY_BUFFER],
        }
    }

    pub(super) fn run(mut self, from: impl Read) -> Result<Unpacked, UnpackError> {
        let mut archive = tar::Archive::new(from);
        let mut seen = 0;
        for entry in archive.entries().map_err(UnpackError::Unreadable)? {
            let mut entry = entry.map_err(UnpackError::Unreadable)?;
            seen += 1;
            if seen > self.limits.entries {
                return Err(UnpackError::TooBig { limit: self.limits.entries, what: "entries" });
            }
            self.entry(&mut entry)?;
        }
        self.finish_dirs()?;
        self.done.inodes += self.tree.made();
        self.done.bytes += self.tree.made() * BLOCK;
        let path = |bytes| PathBuf::from(std::ffi::OsString::from_vec(bytes));
        self.done.undescribed = self.tree.into_undescribed().into_iter().map(path).collect();
        Ok(self.done)
    }

    fn entry(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), UnpackError> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let raw = entry.path_bytes().into_owned();
        match name::read(&raw)? {
            Meaning::Meta => Ok(()),
            Meaning::Opaque(dir) => self.tree.make_opaque(&dir),
            Meaning::Whiteout(place) => self.whiteout(&place),
            Meaning::Top => {
                let meta = read_meta(entry, &raw)?;
                self.top(kind, &raw, &meta)
            }
            Meaning::Object(place) => {
                let meta = read_meta(entry, &raw)?;
                let parent = self.tree.dir(&place.parent)?;
                self.object(entry, kind, &parent, &place, &meta)
            }
        }
    }

    fn object(
        &mut self,
        entry: &mut tar::Entry<'_, impl Read>,
        kind: EntryType,
        parent: &OwnedFd,
        place: &Place,
        meta: &Meta,
    ) -> Result<(), UnpackError> {
        match kind {
            EntryType::Directory => self.directory(parent, place, meta),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(entry, parent, place, meta)
            }
            EntryType::Link => {
                let target = link_name(entry, place)?;
                self.hard_link(parent, place, &target)
            }
            EntryType::Symlink => {
                let target = link_name(entry, place)?;
                self.symlink(parent, place, &target, meta)
            }
            EntryType::Char => self.node(entry, FileType::CharacterDevice, parent, place, meta),
            EntryType::Block => self.node(entry, FileType::BlockDevice, parent, place, meta),
            EntryType::Fifo => self.node(entry, FileType::Fifo, parent, place, meta),
            other => Err(UnpackError::refused(
                &place.path(),
                format!(
                    "entries of type {:?} do not belong in a layer",
                    char::from(other.as_byte())
                ),
            )),
        }
    }

    fn top(&mut self, kind: EntryType, raw: &[u8], meta: &Meta) -> Result<(), UnpackError> {
        if kind != EntryType::Directory {
            return Err(UnpackError::refused(raw, "the layer's top can only be a directory"));
        }
        let root = self.tree.dir(b"")?;
        dress(&root, raw, meta)?;
        self.dir_times.push((Vec::new(), meta.times.clone()));
        self.done.top = Some(TopDir { uid: meta.uid, gid: meta.gid, mode: meta.mode });
        Ok(())
    }

    fn whiteout(&mut self, place: &Place) -> Result<(), UnpackError> {
        let parent = self.tree.dir(&place.parent)?;
        match self.tree.found(&parent, place)? {
            // A whiteout hides what is below, never what this layer itself brings.
            Found::Other | Found::Whiteout => Ok(()),
            Found::Directory => self.tree.make_opaque(&place.path()),
            Found::Nothing => {
                self.done.inodes += 1;
                let name = OsStr::from_bytes(&place.name);
                let mode = Mode::from_raw_mode(0);
                rustix::fs::mknodat(&parent, name, FileType::CharacterDevice, mode, 0)
                    .map_err(UnpackError::host("make whiteout", &place.path()))
            }
        }
    }

    fn directory(
        &mut self,
        parent: &OwnedFd,
        place: &Place,
        meta: &Meta,
    ) -> Result<(), UnpackError> {
        let path = place.path();
        if self.tree.make_dir(parent, place, 0o700)? == MadeDir::InTheWay {
            self.tree.clear(parent, place)?;
            self.tree.make_dir(parent, place, 0o700)?;
        }
        if self.tree.has_undescribed() {
            self.tree.described(&path);
        }
        let dir = self.tree.dir(&path)?;
        dress(&dir, &path, meta)?;
        self.dir_times.push((path, meta.times.clone()));
        Ok(())
    }

    fn file(
        &mut self,
        entry: &mut tar::Entry<'_, impl Read>,
        parent: &OwnedFd,
        place: &Place,
        meta: &Meta,
    ) -> Result<(), UnpackError> {
        let path = place.path();
        let create = || {
            let name = OsStr::from_bytes(&place.name);
            rustix::fs::openat(parent, name, FILE_FLAGS | OFlags::CLOEXEC, Mode::RUSR)
        };
        let fd = match create() {
            Err(Errno::EXIST) => {
                self.tree.clear(parent, place)?;
                create()
            }
            other => other,
        }
        .map_err(UnpackError::host("make file", &path))?;
        let mut file = File::from(fd);
        let mut written = 0;
        loop {
            let got = entry.read(&mut self.buffer).map_err(UnpackError::Unreadable)?;
            if got == 0 {
                break;
            }
            file.write_all(&self.buffer[..got]).map_err(UnpackError::host("write", &path))?;
            written += got as u64;
        }
        self.done.inodes += 1;
        self.done.bytes += written.div_ceil(BLOCK) * BLOCK;
        let fd = OwnedFd::from(file);
        dress(&fd, &path, meta)?;
        rustix::fs::futimens(&fd, &meta.times).map_err(UnpackError::host("set time of", &path))
    }

    fn hard_link(
        &mut self,
        parent: &OwnedFd,
        place: &Place,
        target: &[u8],
    ) -> Result<(), UnpackError> {
        let path = place.path();
        let target_path = name::clean(target)
            .map_err(|_| UnpackError::refused(&path, "its hard link target leaves the layer"))?;
        let Some(target) = Place::of(&target_path) else {
            return Err(UnpackError::refused(&path, "its hard link target is the layer's top"));
        };
        if target_path == path {
            return Err(UnpackError::refused(&path, "it is a hard link to itself"));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let target_parent = match open_inside(self.tree.root(), &target.parent, flags) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => {
                self.link_below(path, target_path);
                return Ok(());
            }
            Err(error) => return Err(UnpackError::host("open hard link target of", &path)(error)),
        };
        match self.tree.found(&target_parent, &target)? {
            Found::Directory => {
                return Err(UnpackError::refused(&path, "it is a hard link to a directory"));
            }
            Found::Nothing | Found::Whiteout => {
                self.link_below(path, target_path);
                return Ok(());
            }
            Found::Other => {}
        }
        self.tree.clear(parent, place)?;
        rustix::fs::linkat(
            &target_parent,
            OsStr::from_bytes(&target.name),
            parent,
            OsStr::from_bytes(&place.name),
            AtFlags::empty(),
        )
        .map_err(UnpackError::host("make hard link", &path))
    }

    fn link_below(&mut self, path: Vec<u8>, target: Vec<u8>) {
        let path_buf = |bytes| PathBuf::from(std::ffi::OsString::from_vec(bytes));
        self.done.links_below.push((path_buf(path), path_buf(target)));
    }

    fn symlink(
        &mut self,
        parent: &OwnedFd,
        place: &Place,
        target: &[u8],
        meta: &Meta,
    ) -> Result<(), UnpackError> {
        let path = place.path();
        if target.is_empty() || target.contains(&0) || target.len() >= 4096 {
            return Err(UnpackError::refused(&path, "its symlink target is empty or too long"));
        }
        self.tree.clear(parent, place)?;
        let name = OsStr::from_bytes(&place.name);
        rustix::fs::symlinkat(OsStr::from_bytes(target), parent, name)
            .map_err(UnpackError::host("make symlink", &path))?;
        self.done.inodes += 1;
        self.dress_by_name(parent, place, meta)
    }

    fn node(
        &mut self,
        entry: &tar::Entry<'_, impl Read>,
        kind: FileType,
        parent: &OwnedFd,
        place: &Place,
        meta: &Meta,
    ) -> Result<(), UnpackError> {
        let path = place.path();
        let number = |part: std::io::Result<Option<u32>>| match part {
            Ok(number) => Ok(number.unwrap_or(0)),
            Err(_) => Err(UnpackError::refused(&path, "its device number is unreadable")),
        };
        let device = match kind {
            FileType::Fifo => 0,
            _ => rustix::fs::makedev(
                number(entry.header().device_major())?,
                number(entry.header().device_minor())?,
            ),
        };
        if kind == FileType::CharacterDevice && device == 0 {
            return Err(UnpackError::refused(
                &path,
                "character device 0/0 would hide a file of the layers below",
            ));
        }
        self.tree.clear(parent, place)?;
        let name = OsStr::from_bytes(&place.name);
        rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device)
            .map_err(UnpackError::host("make device or pipe", &path))?;
        self.done.inodes += 1;
        self.dress_by_name(parent, place, meta)?;
        rustix::fs::chmodat(parent, name, Mode::from_raw_mode(meta.mode), AtFlags::empty())
            .map_err(UnpackError::host("set mode of", &path))
    }

    /// Owner, xattrs and time of an object that must not be opened.
    fn dress_by_name(
        &self,
        parent: &OwnedFd,
        place: &Place,
        meta: &Meta,
    ) -> Result<(), UnpackError> {
        let path = place.path();
        let name = OsStr::from_bytes(&place.name);
        let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(UnpackError::host("set owner of", &path))?;
        for (key, value) in &meta.xattrs {
            let mut by_fd = format!("/proc/self/fd/{}/", parent.as_fd().as_raw_fd()).into_bytes();
            by_fd.extend_from_slice(&place.name);
            let set = rustix::fs::lsetxattr(
                OsStr::from_bytes(&by_fd),
                key.as_str(),
                value,
                XattrFlags::empty(),
            );
            // `user.` is for files and directories only: others never had it where it counts.
            match set {
                Ok(()) | Err(Errno::PERM | Errno::NOTSUP) => {}
                Err(error) => return Err(UnpackError::host("set xattr of", &path)(error)),
            }
        }
        rustix::fs::utimensat(parent, name, &meta.times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(UnpackError::host("set time of", &path))
    }

    fn finish_dirs(&mut self) -> Result<(), UnpackError> {
        for (path, times) in self.dir_times.iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            match open_inside(self.tree.root(), path, flags) {
                Ok(fd) => rustix::fs::futimens(&fd, times)
                    .map_err(UnpackError::host("set time of", path))?,
                // A later entry put something else in its place.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(UnpackError::host("open directory", path)(error)),
            }
        }
        Ok(())
    }
}

/// Owner first: changing it clears setuid bits and file capabilities.
fn dress(fd: &OwnedFd, path: &[u8], meta: &Meta) -> Result<(), UnpackError> {
    rustix::fs::fchown(fd, Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)))
        .map_err(UnpackError::host("set owner of", path))?;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(meta.mode))
        .map_err(UnpackError::host("set mode of", path))?;
    for (key, value) in &meta.xattrs {
        match rustix::fs::fsetxattr(fd, key.as_str(), value, XattrFlags::empty()) {
            // A filesystem without xattrs can hold no capabilities; programs that need them say so.
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(error) => return Err(UnpackError::host("set xattr of", path)(error)),
        }
    }
    Ok(())
}

fn link_name(entry: &tar::Entry<'_, impl Read>, place: &Place) -> Result<Vec<u8>, UnpackError> {
    entry
        .link_name_bytes()
        .map(std::borrow::Cow::into_owned)
        .ok_or_else(|| UnpackError::refused(&place.path(), "it is a link to nothing"))
}

fn read_meta(entry: &mut tar::Entry<'_, impl Read>, raw: &[u8]) -> Result<Meta, UnpackError> {
    let unreadable = |what: &str| UnpackError::refused(raw, format!("its {what} is unreadable"));
    let id = |id: std::io::Result<u64>, what: &str| {
        let id = id.map_err(|_| unreadable(what))?;
        // The highest value means "leave it" to the kernel.
        u32::try_from(id).ok().filter(|&id| id != u32::MAX).ok_or_else(|| unreadable(what))
    };
    // To every other reader of archives a number that is left out is 0.
    let left_out = |field: &[u8]| field.iter().all(|byte| matches!(byte, 0 | b' '));
    let header = entry.header();
    let fields = header.as_old();
    let uid = if left_out(&fields.uid) { Ok(0) } else { header.uid() };
    let uid = id(uid, "owner")?;
    let gid = if left_out(&fields.gid) { Ok(0) } else { header.gid() };
    let gid = id(gid, "group")?;
    let mode = header.mode().map_err(|_| unreadable("mode"))? & 0o7777;
    let mtime = if left_out(&fields.mtime) { Ok(0) } else { header.mtime() };
    let mut seconds = mtime.map_err(|_| unreadable("time"))?.cast_signed();
    let mut nanoseconds = 0;
    let mut xattrs = Vec::new();
    if let Some(extensions) = entry.pax_extensions().map_err(UnpackError::Unreadable)? {
        for extension in extensions {
            let extension = extension.map_err(UnpackError::Unreadable)?;
            let Ok(key) = extension.key() else { continue };
            if let Some(xattr) = key.strip_prefix(XATTR_PREFIX) {
                if is_kept_xattr(xattr) {
                    xattrs.push((xattr.to_owned(), extension.value_bytes().to_vec()));
                }
            } else if key == "mtime" {
                let text = extension.value().map_err(|_| unreadable("time"))?;
                (seconds, nanoseconds) = pax_time(text).ok_or_else(|| unreadable("time"))?;
            }
        }
    }
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(Meta { uid, gid, mode, times, xattrs })
}

/// Overlayfs's own xattrs would let a layer redirect lookups; a label of the builder's host means
/// nothing on this one.
fn is_kept_xattr(key: &str) -> bool {
    (key.starts_with("user.") && !key.starts_with("user.overlay."))
        || key == "security.capability"
        || key.starts_with("system.posix_acl_")
}

/// Decimal seconds with an optional fraction, perhaps negative (pax, POSIX.1-2001).
fn pax_time(text: &str) -> Option<(i64, i64)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: i64 = digits.parse().ok()?;
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some((seconds - 1, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
