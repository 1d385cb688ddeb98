// SPDX-License-Identifier: Apache-2.0
//! These need root; without it they fail and say so.

use std::{os::unix::fs::MetadataExt, process::Command};

use super::*;

/// A scratch directory on a shared mount of its own, unmounted at the end.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test makes namespaces: run it as root");
        let dir = tempfile::Builder::new().prefix("net-pins-").tempdir().unwrap();
        share(dir.path()).unwrap();
        Self(dir)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        while unmount(self.0.path(), UnmountFlags::DETACH).is_ok() {}
    }
}

fn inode(path: impl AsRef<Path>) -> u64 {
    fs::metadata(path).unwrap().ino()
}

fn in_namespace(pin: &Path, command: &[&str]) -> String {
    let output = Command::new("nsenter")
        .arg(format!("--net={}", pin.display()))
        .args(command)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn mapping(host_id: u32) -> UserNamespace {
    let ids = IdMapping { host_id, container_id: 0, length: 65536 };
    UserNamespace { uids: ids, gids: ids }
}

#[tokio::test]
async fn a_pinned_network_is_new_and_its_loopback_is_up() {
    let scratch = Scratch::new();
    let pin = scratch.at("net");
    let own = inode("/proc/self/ns/net");
    create(Pins { net: pin.clone(), user: None }).await.unwrap();
    assert!(is_pinned(&pin));
    assert_ne!(inode(&pin), own);
    assert_eq!(inode("/proc/self/ns/net"), own, "the daemon itself moved");
    assert!(in_namespace(&pin, &["ip", "-o", "addr", "show", "lo"]).contains("127.0.0.1/8"));
    remove(pin.clone()).await.unwrap();
    assert!(!pin.exists());
    remove(pin).await.unwrap();
}

#[tokio::test]
async fn a_pod_user_namespace_owns_its_network() {
    let scratch = Scratch::new();
    let (net, user) = (scratch.at("net"), scratch.at("user"));
    let pins = Pins {
        net: net.clone(),
        user: Some(UserPin { path: user.clone(), mapping: mapping(200_000) }),
    };
    create(pins).await.unwrap();
    // Only root of the owning user namespace may change its interfaces.
    let allowed = Command::new("nsenter")
        .args([format!("--user={}", user.display()), format!("--net={}", net.display())])
        .args(["-S", "0", "-G", "0", "ip", "link", "set", "lo", "mtu", "1400"])
        .status()
        .unwrap();
    assert!(allowed.success());
    let map = Command::new("nsenter")
        .arg(format!("--user={}", user.display()))
        .args(["cat", "/proc/self/uid_map"])
        .output()
        .unwrap();
    let map = String::from_utf8(map.stdout).unwrap();
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "200000", "65536"]);
    assert!(in_namespace(&net, &["ip", "-o", "addr", "show", "lo"]).contains("127.0.0.1/8"));
    remove(net).await.unwrap();
    remove(user).await.unwrap();
}

#[tokio::test]
async fn a_refused_mapping_is_named_and_leaves_nothing() {
    let scratch = Scratch::new();
    let (net, user) = (scratch.at("net"), scratch.at("user"));
    let bad = IdMapping { host_id: 0, container_id: 0, length: 0 };
    let mapping = UserNamespace { uids: bad, gids: bad };
    let error = create(Pins { net, user: Some(UserPin { path: user, mapping }) }).await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains("uid 0 mapped to 0 for 0 ids"), "{text}");
    assert_eq!(fs::read_dir(scratch.0.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_pin_left_behind_is_replaced() {
    let scratch = Scratch::new();
    let pin = scratch.at("net");
    create(Pins { net: pin.clone(), user: None }).await.unwrap();
    create(Pins { net: pin.clone(), user: None }).await.unwrap();
    assert!(is_pinned(&pin));
    remove(pin.clone()).await.unwrap();
    fs::write(&pin, "").unwrap();
    create(Pins { net: pin.clone(), user: None }).await.unwrap();
    remove(pin).await.unwrap();
}

#[tokio::test]
async fn a_failure_names_the_pin() {
    let scratch = Scratch::new();
    let pin = scratch.at("missing/net");
    let text = create(Pins { net: pin.clone(), user: None }).await.unwrap_err().to_string();
    assert!(text.contains(&*pin.to_string_lossy()) && text.contains("create"), "{text}");
}

#[test]
fn sharing_twice_mounts_once() {
    let scratch = Scratch::new();
    share(scratch.0.path()).unwrap();
    let path = scratch.0.path().to_string_lossy().into_owned();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(mounts.lines().filter(|line| line.contains(&path)).count() <= 1);
}
