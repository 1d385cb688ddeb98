// SPDX-License-Identifier: Apache-2.0
//! What the pod gives to all its containers: name files and shared memory.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;

use super::{SpecInput, mount};
use crate::{containers::spec::RootfsAccess, pods::spec::Sharing};

/// Read-only where the root filesystem is, so that "read-only" holds for all of `/etc`.
pub(super) fn mounts(input: &SpecInput<'_>) -> Vec<Mount> {
    let access = match input.container.security.rootfs {
        RootfsAccess::ReadWrite => "rw",
        RootfsAccess::ReadOnly => "ro",
    };
    let files = input.pod_files;
    let file = |source: &Option<PathBuf>, target: &str| {
        let source = source.as_deref()?;
        Some(mount("bind", source, Path::new(target), &["rbind", "rprivate", access]))
    };
    let mut list: Vec<Mount> = [
        file(&files.hosts, "/etc/hosts"),
        file(&files.hostname, "/etc/hostname"),
        file(&files.resolv_conf, "/etc/resolv.conf"),
    ]
    .into_iter()
    .flatten()
    .collect();
    list.push(shared_memory(input));
    list
}

/// Goes with the IPC namespace. The pod's is a mount of its own with these flags; they are
/// repeated because a bind in a user namespace may not lose them.
fn shared_memory(input: &SpecInput<'_>) -> Mount {
    let target = Path::new("/dev/shm");
    match (input.container.security.namespaces.ipc, &input.pod_files.shm) {
        (Sharing::Node, _) => {
            mount("bind", "/dev/shm", target, &["rbind", "rprivate", "nosuid", "nodev"])
        }
        (Sharing::Pod, Some(shm)) => {
            let options = ["rbind", "rprivate", "nosuid", "noexec", "nodev"];
            mount("bind", shm.as_path(), target, &options)
        }
        (Sharing::Pod, None) => {
            let options = ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"];
            mount("tmpfs", "shm", target, &options)
        }
    }
}
