// SPDX-License-Identifier: Apache-2.0
//! Stage: the files that a pod's containers share, and its shared memory.

use std::{
    fmt::Write,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use rustix::{
    io::Errno,
    mount::{MountFlags, UnmountFlags},
};

use crate::{
    files,
    pods::{
        context::Context,
        error::{FaultKind, PodError},
        progress::Stage,
        record::PodRecord,
        spec::{DnsConfig, Sharing},
    },
};

/// Size of a pod's shared memory, bytes: what every container engine gives.
pub const SHM_BYTES: u64 = 64 << 20;

const RESOLV_CONF: &str = "resolv.conf";
const HOSTNAME: &str = "hostname";
const HOSTS: &str = "hosts";

/// Paths of a pod's files.
#[derive(Debug, Clone)]
pub struct PodFiles {
    /// Name servers.
    pub resolv_conf: PathBuf,
    /// The host name.
    pub hostname: PathBuf,
    /// Names of addresses, for containers that bring none of their own.
    pub hosts: PathBuf,
    /// Shared memory; the host's own with a shared IPC namespace.
    pub shm: PathBuf,
}

/// Where a pod's files are.
#[must_use]
pub fn paths(context: &Context, pod: &PodRecord) -> PodFiles {
    let dir = context.layout.pod(&pod.id);
    let shm = match pod.config.namespaces.ipc {
        Sharing::Pod => context.layout.shm(&pod.id),
        Sharing::Node => PathBuf::from("/dev/shm"),
    };
    PodFiles {
        resolv_conf: dir.join(RESOLV_CONF),
        hostname: dir.join(HOSTNAME),
        hosts: dir.join(HOSTS),
        shm,
    }
}

/// The pod's host name: what was asked for, else the host's with host networking, else what the
/// sandbox's id begins with.
#[must_use]
pub fn hostname(pod: &PodRecord) -> String {
    if !pod.config.hostname.is_empty() {
        return pod.config.hostname.clone();
    }
    match pod.config.namespaces.network {
        Sharing::Node => nix::unistd::gethostname()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        Sharing::Pod => pod.id.as_str().chars().take(12).collect(),
    }
}

/// Writes the files and mounts the shared memory.
///
/// # Errors
/// [`PodError`] naming the pod.
pub async fn set_up(context: &Context, pod: &PodRecord) -> Result<(), PodError> {
    let _stage = context.progress.begin(Stage::Files, &pod.id);
    let (files, name, config) = (paths(context, pod), hostname(pod), pod.config.clone());
    let root = config.namespaces.user.as_ref().map_or((0, 0), |u| (u.uids.host_id, u.gids.host_id));
    let made = tokio::task::spawn_blocking(move || {
        fs::write(&files.resolv_conf, resolv_conf(config.dns.as_ref())?)?;
        fs::write(&files.hostname, format!("{name}\n"))?;
        if config.namespaces.ipc == Sharing::Pod {
            files::make_dir(&files.shm, 0o700)?;
            mount_shm(&files.shm, root)?;
        }
        Ok(())
    });
    flatten(made.await).map_err(|e| {
        PodError::step(format!("write files of pod {}", pod.id), FaultKind::Internal, e)
    })
}

/// Writes the hosts file, once the pod's addresses are known.
///
/// # Errors
/// [`PodError`] naming the pod.
pub fn write_hosts(context: &Context, pod: &PodRecord) -> Result<(), PodError> {
    let text = match pod.config.namespaces.network {
        Sharing::Node => fs::read_to_string("/etc/hosts").unwrap_or_else(|_| hosts("", &[])),
        Sharing::Pod => hosts(&hostname(pod), &pod.ips),
    };
    fs::write(paths(context, pod).hosts, text).map_err(|e| {
        PodError::step(format!("write hosts file of pod {}", pod.id), FaultKind::Internal, e)
    })
}

/// Unmounts the shared memory. The files go with the pod's directory.
///
/// # Errors
/// [`PodError`] naming the mount.
pub async fn undo(context: &Context, pod: &PodRecord) -> Result<(), PodError> {
    let _stage = context.progress.begin(Stage::FilesUndo, &pod.id);
    let shm = context.layout.shm(&pod.id);
    let text = format!("unmount shared memory of pod {}", pod.id);
    let undone = tokio::task::spawn_blocking(move || unmount(&shm)).await;
    flatten(undone).map_err(|e| PodError::step(text, FaultKind::Internal, e))
}

/// Mounts a tmpfs of the pod's own, its root owned by the pod's root user.
fn mount_shm(target: &Path, (uid, gid): (u32, u32)) -> io::Result<()> {
    let options = format!("mode=1777,size={SHM_BYTES},uid={uid},gid={gid}");
    let options = std::ffi::CString::new(options)?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    Ok(rustix::mount::mount("shm", target, "tmpfs", flags, Some(options.as_c_str()))?)
}

/// Takes a mount away; nothing mounted, or no such path, is no error.
fn unmount(target: &Path) -> io::Result<()> {
    match rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::NOENT | Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn flatten(joined: Result<io::Result<()>, tokio::task::JoinError>) -> io::Result<()> {
    joined.unwrap_or_else(|bug| Err(io::Error::other(bug)))
}

/// The pod's name servers; the host's where nothing was asked for.
fn resolv_conf(dns: Option<&DnsConfig>) -> io::Result<String> {
    let asked = dns.filter(|d| **d != DnsConfig::default());
    match asked {
        Some(dns) => Ok(render_dns(dns)),
        None => host_resolv_conf(Path::new("/etc/resolv.conf")),
    }
}

fn host_resolv_conf(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    }
}

fn render_dns(dns: &DnsConfig) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    for server in &dns.servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !dns.searches.is_empty() {
        let _ = writeln!(text, "search {}", dns.searches.join(" "));
    }
    if !dns.options.is_empty() {
        let _ = writeln!(text, "options {}", dns.options.join(" "));
    }
    text
}

fn hosts(name: &str, ips: &[IpAddr]) -> String {
    let mut text =
        String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for ip in ips {
        let _ = writeln!(text, "{ip}\t{name}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_written_as_the_resolver_reads_them() {
        let dns = DnsConfig {
            servers: vec!["10.0.0.1".into(), "::1".into()],
            searches: vec!["a.b".into(), "c".into()],
            options: vec!["ndots:5".into()],
        };
        assert_eq!(
            render_dns(&dns),
            "nameserver 10.0.0.1\nnameserver ::1\nsearch a.b c\noptions ndots:5\n"
        );
    }

    #[test]
    fn a_pod_finds_its_own_name() {
        let text = hosts("web-0", &["10.1.2.3".parse().unwrap()]);
        assert!(text.ends_with("10.1.2.3\tweb-0\n"), "{text}");
    }
}
