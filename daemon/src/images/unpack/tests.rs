// SPDX-License-Identifier: Apache-2.0

use std::{
    os::unix::fs::{FileTypeExt, MetadataExt, symlink},
    path::Path,
};

use proptest::prelude::*;
use tar::EntryType;

use super::*;
use crate::images::tests::Archive;

fn open(dir: &Path) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(dir, flags, Mode::empty()).unwrap()
}

/// A layer directory with a neighbour that no archive may touch.
struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "needs root: layers have owners and devices");
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("layer")).unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        std::fs::write(dir.path().join("outside/secret"), "untouched").unwrap();
        Self { dir }
    }

    fn layer(&self) -> PathBuf {
        self.dir.path().join("layer")
    }

    fn unpack(&self, archive: Archive) -> Result<Unpacked, UnpackError> {
        let bytes = archive.bytes();
        super::super::unpack(&bytes[..], open(&self.layer()), Limits::default())
    }

    fn assert_outside_untouched(&self) {
        let secret = self.dir.path().join("outside/secret");
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "untouched");
        assert_eq!(std::fs::metadata(&secret).unwrap().nlink(), 1);
        assert_eq!(std::fs::read_dir(self.dir.path().join("outside")).unwrap().count(), 1);
        assert_eq!(std::fs::read_dir(self.dir.path()).unwrap().count(), 2);
    }
}

fn opaque(path: &Path) -> Option<Vec<u8>> {
    let mut value = [0; 8];
    let length = rustix::fs::lgetxattr(path, "trusted.overlay.opaque", &mut value).ok()?;
    Some(value[..length].to_vec())
}

fn is_whiteout(path: &Path) -> bool {
    let meta = std::fs::symlink_metadata(path).unwrap();
    meta.file_type().is_char_device() && meta.rdev() == 0
}

#[test]
fn objects_keep_their_owner_mode_time_and_xattrs() {
    let site = Site::new();
    // VFS_CAP_REVISION_2 with cap_net_raw, effective.
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let archive = Archive::new()
        .entry(EntryType::Directory, "./", "", 0o751, (1, 2), b"")
        .entry(EntryType::Directory, "d/", "", 0o2770, (10, 20), b"")
        .pax(&[("SCHILY.xattr.security.capability", &capability[..]), ("mtime", b"-1.25")])
        .entry(EntryType::Regular, "d/ping", "", 0o755, (5, 6), b"elf")
        .entry(EntryType::Regular, "d/su", "", 0o4755, (7, 8), b"elf")
        .entry(EntryType::Fifo, "pipe", "", 0o622, (3, 4), b"")
        .entry(EntryType::Symlink, "link", "/nowhere", 0o777, (11, 12), b"")
        .hard_link("d/ping2", "d/ping")
        .pax(&[("SCHILY.xattr.trusted.overlay.redirect", b"/x"), ("SCHILY.xattr.user.a", b"b")])
        .file("plain", "12345");
    let unpacked = site.unpack(archive).unwrap();
    assert!(unpacked.stands_alone());
    assert_eq!(unpacked.top, Some(TopDir { uid: 1, gid: 2, mode: 0o751 }));
    assert_eq!(unpacked.inodes, 6);
    let look = |name: &str| {
        let meta = std::fs::symlink_metadata(site.layer().join(name)).unwrap();
        (meta.uid(), meta.gid(), meta.mode() & 0o7777, meta.mtime())
    };
    assert_eq!(look(""), (1, 2, 0o751, 1_000_000_000));
    assert_eq!(look("d"), (10, 20, 0o2770, 1_000_000_000));
    assert_eq!(look("d/ping"), (5, 6, 0o755, -2));
    assert_eq!(look("d/su"), (7, 8, 0o4755, 1_000_000_000));
    assert_eq!(look("pipe"), (3, 4, 0o622, 1_000_000_000));
    assert_eq!(look("link"), (11, 12, 0o777, 1_000_000_000));
    assert_eq!(std::fs::metadata(site.layer().join("d/ping2")).unwrap().nlink(), 2);
    let mut value = [0; 64];
    let ping = site.layer().join("d/ping");
    let length = rustix::fs::lgetxattr(&ping, "security.capability", &mut value).unwrap();
    assert_eq!(value[..length], capability);
    let plain = site.layer().join("plain");
    assert!(rustix::fs::lgetxattr(&plain, "trusted.overlay.redirect", &mut value).is_err());
    assert_eq!(std::fs::read_to_string(plain).unwrap(), "12345");
}

#[test]
fn devices_are_made_with_their_numbers() {
    let site = Site::new();
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(EntryType::Char);
    header.set_path("null").unwrap();
    header.set_size(0);
    header.set_mode(0o666);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_device_major(1).unwrap();
    header.set_device_minor(3).unwrap();
    header.set_cksum();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append(&header, &b""[..]).unwrap();
    let bytes = tar.into_inner().unwrap();
    super::super::unpack(&bytes[..], open(&site.layer()), Limits::default()).unwrap();
    let meta = std::fs::metadata(site.layer().join("null")).unwrap();
    assert!(meta.file_type().is_char_device());
    assert_eq!((meta.rdev(), meta.mode() & 0o777), (rustix::fs::makedev(1, 3), 0o666));
}

#[test]
fn whiteouts_become_what_overlayfs_reads() {
    let site = Site::new();
    let archive = Archive::new()
        .dir("d/")
        .file("d/.wh.gone", "")
        .file("d/.wh.back", "")
        .file("d/back", "new")
        .file("d/own", "mine")
        .file("d/.wh.own", "")
        .dir("o/")
        .file("o/.wh..wh..opq", "")
        .file("o/new", "x")
        .file(".wh.dir", "")
        .dir("dir/")
        .dir("late/")
        .file(".wh.late", "")
        .file(".wh..wh.aufs", "")
        .file(".wh..wh.plnk/1", "");
    assert!(site.unpack(archive).unwrap().stands_alone());
    let at = |name: &str| site.layer().join(name);
    assert!(is_whiteout(&at("d/gone")));
    assert_eq!(std::fs::read_to_string(at("d/back")).unwrap(), "new");
    assert_eq!(std::fs::read_to_string(at("d/own")).unwrap(), "mine");
    assert_eq!(opaque(&at("d")), None);
    for name in ["o", "dir", "late"] {
        assert_eq!(opaque(&at(name)).as_deref(), Some(&b"y"[..]), "{name}");
    }
    assert!(at("o/new").exists() && !at(".wh..wh.plnk").exists());
}

#[test]
fn later_entries_replace_earlier_ones() {
    let site = Site::new();
    let archive = Archive::new()
        .file("f", "one")
        .file("f", "two")
        .dir("d/")
        .file("d/sub", "x")
        .file("d", "now a file")
        .file("g", "x")
        .dir("g/")
        .file("g/in", "y")
        .symlink("s", "g")
        .file("s/through", "lands in g")
        .dir("s/")
        .file("s/direct", "lands in s");
    site.unpack(archive).unwrap();
    let read = |name: &str| std::fs::read_to_string(site.layer().join(name)).unwrap();
    assert_eq!(read("f"), "two");
    assert_eq!(read("d"), "now a file");
    assert_eq!(read("g/in"), "y");
    assert_eq!(read("g/through"), "lands in g");
    assert_eq!(read("s/direct"), "lands in s");
    assert!(!site.layer().join("g/direct").exists());
}

#[test]
fn hostile_entries_are_refused_by_name() {
    for (archive, part) in [
        (Archive::new().file("../outside/secret", "x"), "'..'"),
        (Archive::new().file("a/../../outside/secret", "x"), "'..'"),
        (Archive::new().dir("../new/"), "'..'"),
        (Archive::new().hard_link("l", "../outside/secret"), "leaves the layer"),
        (Archive::new().hard_link("l", "/"), "top"),
        (Archive::new().file("f", "x").hard_link("f", "f"), "itself"),
        (Archive::new().dir("d/").hard_link("l", "d"), "directory"),
        (Archive::new().file(".wh...", "x"), "whiteout"),
        (Archive::new().entry(EntryType::Char, "c", "", 0o666, (0, 0), b""), "0/0"),
        (Archive::new().entry(EntryType::new(b'V'), "v", "", 0o666, (0, 0), b""), "type"),
        (Archive::new().entry(EntryType::Symlink, "s", "", 0o777, (0, 0), b""), "link"),
        (Archive::new().file("", "x"), "top"),
        (Archive::new().file("f", "x").file("f/below", "y"), "on the way"),
        (Archive::new().symlink("a", "b").symlink("b", "a").file("a/x", "y"), "circle"),
        (
            Archive::new().entry(EntryType::Regular, "f", "", 0o644, (u64::from(u32::MAX), 0), b""),
            "owner",
        ),
    ] {
        let site = Site::new();
        let error = site.unpack(archive).expect_err(part).to_string();
        assert!(error.contains(part), "{part}: {error}");
        site.assert_outside_untouched();
    }
}

#[test]
fn symlinks_and_absolute_names_stay_inside_the_layer() {
    let site = Site::new();
    let outside = site.dir.path().join("outside").display().to_string();
    // The same places exist inside, so that following the links has somewhere to go.
    let archive = Archive::new()
        .dir("outside/")
        .symlink("up", "../outside")
        .file("up/a", "inside")
        .symlink("deep", "../../../../outside")
        .file("deep/b", "inside")
        .file("/outside/c", "inside")
        .symlink("f", "../outside/secret")
        .file("f", "replaces the link")
        .symlink("proc", "/proc/self/root");
    site.unpack(archive).unwrap();
    for name in ["a", "b", "c"] {
        assert!(site.layer().join("outside").join(name).exists(), "{name}");
    }
    site.assert_outside_untouched();

    // Absolute, to a place that only the host has; and a link that is there before us.
    for link in [outside.as_str(), "/proc/self/cwd", "/dev/fd"] {
        let site = Site::new();
        symlink(link, site.layer().join("l")).unwrap();
        let error = site.unpack(Archive::new().file("l/secret", "x")).unwrap_err().to_string();
        assert!(error.contains("on the way"), "{link}: {error}");
        site.assert_outside_untouched();
    }
}

#[test]
fn a_setuid_bit_never_lands_outside_by_a_symlink() {
    let site = Site::new();
    let archive = Archive::new().symlink("x", "../outside/secret").hard_link("y", "x").entry(
        EntryType::Regular,
        "y",
        "",
        0o4755,
        (0, 0),
        b"own",
    );
    site.unpack(archive).unwrap();
    let meta = std::fs::symlink_metadata(site.layer().join("y")).unwrap();
    assert!(meta.is_file() && meta.mode() & 0o4000 != 0);
    site.assert_outside_untouched();
}

#[test]
fn what_only_lower_layers_can_have_is_told() {
    let site = Site::new();
    let archive = Archive::new().file("a/b/f", "x").dir("a/").hard_link("h", "usr/bin/tool");
    let unpacked = site.unpack(archive).unwrap();
    assert_eq!(unpacked.undescribed, [Path::new("a/b")]);
    assert_eq!(unpacked.links_below, [("h".into(), "usr/bin/tool".into())]);
}

#[test]
fn limits_and_broken_archives_are_errors() {
    let site = Site::new();
    let bytes = Archive::new().file("a", "x").file("b", "y").bytes();
    let limits = Limits { entries: 1, ..Limits::default() };
    let error = super::super::unpack(&bytes[..], open(&site.layer()), limits).unwrap_err();
    assert!(matches!(error, UnpackError::TooBig { limit: 1, .. }), "{error}");
    let bytes = Archive::new().file("a", vec![1; 5000]).bytes();
    for cut in [100, 700, 3000] {
        let site = Site::new();
        let result = super::super::unpack(&bytes[..cut], open(&site.layer()), Limits::default());
        assert!(matches!(result, Err(UnpackError::Unreadable(_))), "{cut}: {result:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_sequence_of_entries_leads_outside(
        entries in prop::collection::vec((0..6u8, 0..8usize, 0..10usize), 1..14)
    ) {
        const NAMES: [&str; 8] =
            ["a", "b", "a/b", "b/a", "a/b/c", "/a", "a/secret", "b/secret"];
        const TARGETS: [&str; 10] = [
            "..", "../outside", "../../outside", "/", "a", "b", "../outside/secret",
            "/proc/self/root", "/proc/self/fd", ".",
        ];
        let site = Site::new();
        let mut archive = Archive::new();
        for (kind, name, target) in entries {
            let (name, target) = (NAMES[name], TARGETS[target]);
            archive = match kind {
                0 => archive.dir(name),
                1 | 2 => archive.symlink(name, target),
                3 => archive.hard_link(name, target),
                4 => archive.file(&format!("{name}/.wh..wh..opq"), ""),
                _ => archive.file(name, "hostile"),
            };
        }
        let _ = site.unpack(archive);
        site.assert_outside_untouched();
    }
}
