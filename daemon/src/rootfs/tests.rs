// SPDX-License-Identifier: Apache-2.0

use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    process::{Child, Command},
};

use serde_json::json;

use super::*;
use crate::images::tests::{Archive, Compression, LogIn, RegistryProcess, Room, TestImage};

/// A root filesystem of two layers, and the rooms it lives in.
struct Site {
    room: Room,
    rootfs: Rootfs,
    image: ImageId,
    container: ContainerId,
    target: PathBuf,
}

impl Site {
    async fn new() -> Self {
        let registry = RegistryProcess::start(LogIn::Nobody).await;
        let low = Archive::new()
            .entry(tar::EntryType::Directory, "./", "", 0o711, (0, 0), b"")
            .dir("etc/")
            .file("etc/passwd", "root")
            .file("etc/gone", "x")
            .dir("hidden/")
            .file("hidden/low", "x")
            .symlink("escape", "../../../../etc");
        let high = Archive::new()
            .dir("etc/")
            .file("etc/.wh.gone", "")
            .dir("hidden/")
            .file("hidden/.wh..wh..opq", "")
            .file("hidden/high", "x");
        let layers = vec![(low, Compression::Gzip), (high, Compression::Zstd)];
        let image = TestImage::new(layers, json!({}));
        registry.push("app", "1", &image).await;
        let room = Room::new();
        let image = room.pull(&registry.name("app:1")).await.unwrap();
        let rootfs = Rootfs::open(room.images.clone(), room.dir.path()).unwrap();
        let target = room.dir.path().join("target");
        std::fs::create_dir(&target).unwrap();
        Self { room, rootfs, image, container: ContainerId::new("c1").unwrap(), target }
    }

    fn read(&self, name: &str) -> std::io::Result<String> {
        std::fs::read_to_string(self.target.join(name))
    }

    fn mounts_here(&self) -> usize {
        let here = self.room.dir.path().display().to_string();
        std::fs::read_to_string("/proc/self/mountinfo")
            .unwrap()
            .lines()
            .filter(|line| line.split(' ').nth(4).is_some_and(|point| point.starts_with(&here)))
            .count()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = unmount(&self.target);
    }
}

#[tokio::test]
async fn a_container_sees_its_image_and_writes_to_its_own_layer() {
    let site = Site::new().await;
    let prepared = site.rootfs.prepare(&site.container, &site.image, None).await.unwrap();
    site.rootfs.mount(prepared.clone(), site.target.clone()).await.unwrap();
    assert_eq!(site.read("etc/passwd").unwrap(), "root");
    assert!(!site.target.join("etc/gone").exists());
    assert!(!site.target.join("hidden/low").exists() && site.target.join("hidden/high").exists());
    assert_eq!(std::fs::metadata(&site.target).unwrap().mode() & 0o7777, 0o711);
    std::fs::write(site.target.join("etc/passwd"), "changed").unwrap();
    std::fs::write(site.target.join("new"), vec![1; 50_000]).unwrap();
    assert_eq!(std::fs::read(prepared.upper.join("new")).unwrap().len(), 50_000);
    let usage = site.rootfs.usage(&site.container).await.unwrap();
    assert!(usage.bytes >= 50_000 && usage.inodes == 4, "{usage:?}");

    // The image may go; what the container stands on stays.
    site.room.images.remove(site.image.as_str()).await.unwrap();
    assert!(site.target.join("hidden/high").exists());
    assert_eq!(site.rootfs.known().await.unwrap(), std::slice::from_ref(&site.container));
    let again = site.rootfs.prepare(&site.container, &site.image, None).await;
    assert!(again.is_err(), "a second root filesystem for one container");

    site.rootfs.unmount(site.target.clone()).await.unwrap();
    site.rootfs.unmount(site.target.clone()).await.unwrap();
    site.rootfs.remove(&site.container).await.unwrap();
    site.rootfs.remove(&site.container).await.unwrap();
    assert_eq!(site.mounts_here(), 0);
    assert_eq!(site.rootfs.known().await.unwrap(), []);
    assert_eq!(site.room.layers(), Vec::<String>::new());
    assert!(site.rootfs.usage(&site.container).await.is_err());
}

#[tokio::test]
async fn a_refused_second_prepare_leaves_the_first_alone() {
    let site = Site::new().await;
    let prepared = site.rootfs.prepare(&site.container, &site.image, None).await.unwrap();
    site.rootfs.prepare(&site.container, &site.image, None).await.unwrap_err();
    assert!(prepared.upper.exists());
    assert_eq!(site.rootfs.known().await.unwrap(), std::slice::from_ref(&site.container));
    site.rootfs.mount(prepared, site.target.clone()).await.unwrap();
}

#[tokio::test]
async fn an_image_volume_is_read_only_and_runs_programs() {
    let site = Site::new().await;
    let mount = |sub: Option<&'static str>| {
        let target = site.target.clone();
        let sub = sub.map(Path::new);
        site.rootfs.mount_image(&site.container, &site.image, sub, target)
    };
    mount(None).await.unwrap();
    assert_eq!(site.read("etc/passwd").unwrap(), "root");
    assert!(!site.target.join("etc/gone").exists());
    let error = std::fs::write(site.target.join("x"), "y").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    site.rootfs.unmount(site.target.clone()).await.unwrap();

    mount(Some("etc")).await.unwrap();
    assert_eq!(site.read("passwd").unwrap(), "root");
    assert!(std::fs::write(site.target.join("passwd"), "y").is_err());
    assert_eq!(site.mounts_here(), 1);
    site.rootfs.unmount(site.target.clone()).await.unwrap();

    // A symlink out of the image leads to the image's own /etc.
    mount(Some("escape")).await.unwrap();
    assert_eq!(site.read("passwd").unwrap(), "root");
    site.rootfs.unmount(site.target.clone()).await.unwrap();

    for (bad, part) in [("no/such", "no/such"), ("../etc", "'..'"), ("etc/passwd/x", "directory")] {
        let error = mount(Some(bad)).await.unwrap_err();
        assert!(matches!(error, ImageError::SubPath { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(site.mounts_here(), 0);
    assert!(!site.room.dir.path().join("target.whole").exists());

    let file = site.room.dir.path().join("file");
    let sub = Some(Path::new("etc/passwd"));
    site.rootfs.mount_image(&site.container, &site.image, sub, file.clone()).await.unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "root");
    site.rootfs.unmount(file).await.unwrap();
}

/// A process in a user namespace of its own that maps `0..65536` to `200000..`.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        let child = Command::new("unshare").args(["--user", "sleep", "60"]).spawn().unwrap();
        let own = std::fs::read_link("/proc/self/ns/user").unwrap();
        let ns = format!("/proc/{}/ns/user", child.id());
        while std::fs::read_link(&ns).map_or(true, |theirs| theirs == own) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        for map in ["uid_map", "gid_map"] {
            std::fs::write(format!("/proc/{}/{map}", child.id()), "0 200000 65536").unwrap();
        }
        Self(child)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_pod_with_mapped_users_owns_its_files() {
    let site = Site::new().await;
    let sleeper = Sleeper::start();
    let range = IdRange { container: 0, host: 200_000, length: 65_536 };
    let idmap = IdMapping {
        userns: format!("/proc/{}/ns/user", sleeper.0.id()).into(),
        uids: vec![range],
        gids: vec![range],
    };
    let prepared = site.rootfs.prepare(&site.container, &site.image, Some(idmap)).await.unwrap();
    site.rootfs.mount(prepared, site.target.clone()).await.unwrap();
    for name in ["", "etc", "etc/passwd", "hidden/high"] {
        let meta = std::fs::metadata(site.target.join(name)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (200_000, 200_000), "{name:?}");
    }
    assert!(!site.target.join("etc/gone").exists() && !site.target.join("hidden/low").exists());
    // Copied up, a file keeps the owner it had.
    let passwd = site.target.join("etc/passwd");
    std::fs::set_permissions(&passwd, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(std::fs::metadata(&passwd).unwrap().uid(), 200_000);
    assert_eq!(site.mounts_here(), 1, "the mapped mount of the layers is gone");
    let layer = std::fs::metadata(site.room.layer_dir(0, &site.image).join("etc/passwd")).unwrap();
    assert_eq!((layer.uid(), layer.mode() & 0o777), (0, 0o644));
}

#[tokio::test]
async fn a_hundred_layers_are_not_too_many() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let lowers: Vec<PathBuf> = (0..120).map(|n| path(&format!("{n:0>90}"))).collect();
    for (n, lower) in lowers.iter().enumerate() {
        std::fs::create_dir(lower).unwrap();
        std::fs::write(lower.join(format!("f{n}")), "x").unwrap();
    }
    for name in ["upper", "work", "target"] {
        std::fs::create_dir(path(name)).unwrap();
    }
    let prepared = Prepared { upper: path("upper"), work: path("work"), lowers, idmap: None };
    mount_prepared(&prepared, &path("target")).unwrap();
    let count = std::fs::read_dir(path("target")).unwrap().count();
    unmount(&path("target")).unwrap();
    assert_eq!(count, 120);
}
