// SPDX-License-Identifier: Apache-2.0
//! The kernel's own file systems, and `/dev`.

use std::path::Path;

use oci_spec::runtime::Mount;

use super::{SpecInput, mount};
use crate::{
    containers::{host::CgroupVersion, oci_spec::namespaces::has_own_cgroup_namespace},
    pods::spec::{PidSharing, Sharing},
};

/// Group of terminals: `tty` on every distribution.
const TTY_GROUP: u32 = 5;

/// A user namespace may not mount a file system that shows a namespace it does not own: there the
/// host's is bound instead.
pub(super) fn mounts(input: &SpecInput<'_>) -> Vec<Mount> {
    let shared = &input.container.security.namespaces;
    let mapped = input.has_user_namespace();
    let access = if input.is_privileged() { "rw" } else { "ro" };
    let safe = ["nosuid", "noexec", "nodev"];
    let dev = ["nosuid", "strictatime", "mode=755", "size=65536k"];
    let proc = if mapped && shared.pid == PidSharing::Node {
        bind("/proc", &safe)
    } else {
        mount("proc", "proc", Path::new("/proc"), &safe)
    };
    let mqueue = if mapped && shared.ipc == Sharing::Node {
        bind("/dev/mqueue", &safe)
    } else {
        mount("mqueue", "mqueue", Path::new("/dev/mqueue"), &safe)
    };
    let [a, b, c] = safe;
    let sys = if mapped && shared.network == Sharing::Node {
        bind("/sys", &[a, b, c, access])
    } else {
        mount("sysfs", "sysfs", Path::new("/sys"), &[a, b, c, access])
    };
    vec![
        proc,
        mount("tmpfs", "tmpfs", Path::new("/dev"), &dev),
        pts(input),
        mqueue,
        sys,
        cgroup(input, access),
    ]
}

fn bind(path: &str, options: &[&str]) -> Mount {
    let all: Vec<&str> = ["rbind", "rprivate"].iter().chain(options).copied().collect();
    mount("bind", path, Path::new(path), &all)
}

/// An option with a group that the user namespace does not map is refused by the kernel.
fn pts(input: &SpecInput<'_>) -> Mount {
    let mut options = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    let has_tty_group = input.pod.namespaces.user.as_ref().is_none_or(|user| {
        let first = user.gids.container_id;
        (u64::from(first)..u64::from(first) + u64::from(user.gids.length))
            .contains(&u64::from(TTY_GROUP))
    });
    if has_tty_group {
        options.push("gid=5");
    }
    mount("devpts", "devpts", Path::new("/dev/pts"), &options)
}

/// Hierarchies of cgroup v1, each a mount of its own in the container. crun makes only their parent
/// read-only, and a container that can write its own limits has none; paths that are not there
/// are passed over by every runtime (OCI runtime specification, `readonlyPaths`).
pub(in crate::containers::oci_spec) fn v1_hierarchies(
    input: &SpecInput<'_>,
) -> impl Iterator<Item = String> + use<> {
    let names: &[&str] = match input.host.cgroup {
        // A user namespace may not change the host's mounts; there they belong to another's root.
        CgroupVersion::V1 if !input.has_user_namespace() => &V1_HIERARCHIES,
        CgroupVersion::V1 | CgroupVersion::V2 => &[],
    };
    names.iter().map(|name| format!("/sys/fs/cgroup/{name}"))
}

/// Usual names of the hierarchies.
const V1_HIERARCHIES: [&str; 17] = [
    "blkio",
    "cpu",
    "cpu,cpuacct",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "misc",
    "net_cls",
    "net_cls,net_prio",
    "net_prio",
    "perf_event",
    "pids",
    "systemd",
    "unified",
];

/// The type `cgroup` means either version to an OCI runtime. In a user namespace the hierarchy
/// can be mounted only with a cgroup namespace of its own.
fn cgroup(input: &SpecInput<'_>, access: &str) -> Mount {
    let options = ["nosuid", "noexec", "nodev", "relatime", access];
    if input.has_user_namespace() && !has_own_cgroup_namespace(input) {
        return bind("/sys/fs/cgroup", &["nosuid", "noexec", "nodev", access]);
    }
    mount("cgroup", "cgroup", Path::new("/sys/fs/cgroup"), &options)
}
