// SPDX-License-Identifier: Apache-2.0
//! Network namespaces of pods, pinned by bind mounts so that no process has to keep them alive.
//!
//! The pins must be seen by shims and runtimes that start later, and by plugins that live in
//! another mount namespace (Multus and the like). Just as much, their *removal* must reach every
//! copy: a copy that stays keeps the namespace and its interfaces alive. Both hold when the pins
//! lie on a shared mount, hence [`share`].

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
};

use nix::sched::{CloneFlags, unshare};
use rustix::{
    fs::{AtFlags, CWD, StatxFlags, statfs, statx},
    mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::{
    pods::spec::{IdMapping, UserNamespace},
    sys::ns::{Holder, loopback_up},
};

/// `f_type` of the file system that namespaces live on.
const NSFS_MAGIC: i64 = 0x6e73_6673;
/// Enough for a few system calls.
const STACK: usize = 64 << 10;

/// What is to be pinned, and where. The parent directories exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pins {
    /// Path of the network namespace.
    pub net: PathBuf,
    /// A user namespace that owns it; `None` for the node's.
    pub user: Option<UserPin>,
}

/// A user namespace to be made and pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserPin {
    /// Path of the pin.
    pub path: PathBuf,
    /// Its id mappings.
    pub mapping: UserNamespace,
}

/// A namespace that could not be made, pinned or removed.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// A step at a pin failed.
    #[error("namespace pin {}: cannot {step}: {source}", path.display())]
    Pin {
        /// The pin.
        path: PathBuf,
        /// What was tried.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// An id mapping was refused.
    #[error("user namespace with {kind} {} mapped to {} for {} ids: {source}",
        mapping.container_id, mapping.host_id, mapping.length)]
    Mapping {
        /// `uid` or `gid`.
        kind: &'static str,
        /// The mapping.
        mapping: IdMapping,
        /// What the system said.
        source: io::Error,
    },
}

impl NetnsError {
    fn pin(path: &Path, step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Pin { path: path.to_owned(), step, source }
    }
}

/// Makes the namespaces, brings loopback up and pins them. A pin that is left from an earlier try
/// is replaced. On failure nothing stays pinned.
///
/// # Errors
/// [`NetnsError`], which names the pin and the step.
pub async fn create(pins: Pins) -> Result<(), NetnsError> {
    blocking(move || create_now(&pins)).await
}

/// Pins a namespace that a process holds, such as `/proc/PID/ns/ipc`, at `path`.
///
/// # Errors
/// [`NetnsError`] naming the pin.
pub async fn hold(namespace: PathBuf, path: PathBuf) -> Result<(), NetnsError> {
    blocking(move || pin(&namespace, &path)).await
}

/// Removes a pin. One that is half there or gone is as good as removed.
///
/// # Errors
/// [`NetnsError`] when the pin is still there.
pub async fn remove(pin: PathBuf) -> Result<(), NetnsError> {
    blocking(move || unpin(&pin)).await
}

/// Whether a namespace is pinned at `path`.
#[must_use]
pub fn is_pinned(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.f_type == NSFS_MAGIC)
}

/// Makes sure that mounts below `directory` reach other mount namespaces: where its mount is not
/// shared already, the directory is bound onto itself and shared. Does nothing the second time.
///
/// # Errors
/// [`NetnsError`].
pub fn share(directory: &Path) -> Result<(), NetnsError> {
    let failed = |step| NetnsError::pin(directory, step);
    if is_shared(directory).map_err(failed("find its mount"))? {
        return Ok(());
    }
    mount_bind(directory, directory).map_err(|e| failed("bind it onto itself")(e.into()))?;
    mount_change(directory, MountPropagationFlags::SHARED).map_err(|e| {
        let _ = unmount(directory, UnmountFlags::DETACH);
        failed("share it")(e.into())
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NetnsError> + Send + 'static,
) -> Result<T, NetnsError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(gone) => Err(NetnsError::Pin {
            path: PathBuf::new(),
            step: "run on a thread",
            source: io::Error::other(gone),
        }),
    }
}

fn is_shared(directory: &Path) -> io::Result<bool> {
    let id = statx(CWD, directory, AtFlags::empty(), StatxFlags::MNT_ID)?.stx_mnt_id.to_string();
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo")?;
    // The optional fields stand between the sixth field and a lone dash.
    Ok(mounts.lines().map(|line| line.split(' ')).any(|mut fields| {
        fields.next() == Some(&id)
            && fields.skip(5).take_while(|f| *f != "-").any(|f| f.starts_with("shared:"))
    }))
}

fn create_now(pins: &Pins) -> Result<(), NetnsError> {
    let Some(user) = &pins.user else {
        let path = pins.net.clone();
        return on_own_thread(move || pin_new_network(&path), &pins.net);
    };
    let holder = Holder::start().map_err(NetnsError::pin(&user.path, "make a user namespace"))?;
    write_map(&holder, "uid", user.mapping.uids)?;
    write_map(&holder, "gid", user.mapping.gids)?;
    pin(&proc_ns(&holder, "user"), &user.path)?;
    let net = pins.net.clone();
    let made = pin(&proc_ns(&holder, "net"), &net)
        .and_then(|()| on_own_thread(move || loopback_up_in(&net), &pins.net));
    if made.is_err() {
        // The error of the step itself is the one to report.
        let _ = (unpin(&pins.net), unpin(&user.path));
    }
    made
}

/// Runs on a thread of its own, which ends afterwards: no other work ever sees its namespace.
fn pin_new_network(path: &Path) -> Result<(), NetnsError> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|e| NetnsError::pin(path, "make a network namespace")(e.into()))?;
    loopback_up().map_err(NetnsError::pin(path, "bring up loopback"))?;
    pin(Path::new("/proc/thread-self/ns/net"), path)
}

fn loopback_up_in(pin: &Path) -> Result<(), NetnsError> {
    enter(pin).and_then(|()| loopback_up()).map_err(NetnsError::pin(pin, "bring up loopback"))
}

/// Moves the calling thread into the network namespace pinned at `pin`, for good.
pub(crate) fn enter(pin: &Path) -> io::Result<()> {
    let namespace = File::open(pin)?;
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

fn on_own_thread(
    work: impl FnOnce() -> Result<(), NetnsError> + Send + 'static,
    path: &Path,
) -> Result<(), NetnsError> {
    let step = "run on a thread";
    let thread = thread::Builder::new().name("netns".into()).stack_size(STACK);
    let running = thread.spawn(work).map_err(NetnsError::pin(path, step))?;
    let panicked = |_| NetnsError::pin(path, step)(io::Error::other("it panicked"));
    running.join().unwrap_or_else(|why| Err(panicked(why)))
}

fn proc_ns(holder: &Holder, kind: &str) -> PathBuf {
    format!("/proc/{}/ns/{kind}", holder.pid()).into()
}

fn write_map(holder: &Holder, kind: &'static str, mapping: IdMapping) -> Result<(), NetnsError> {
    let IdMapping { container_id, host_id, length } = mapping;
    let line = format!("{container_id} {host_id} {length}\n");
    fs::write(format!("/proc/{}/{kind}_map", holder.pid()), line)
        .map_err(|source| NetnsError::Mapping { kind, mapping, source })
}

fn pin(namespace: &Path, path: &Path) -> Result<(), NetnsError> {
    unpin(path)?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o444)
        .open(path)
        .map_err(NetnsError::pin(path, "create it"))?;
    mount_bind(namespace, path).map_err(|e| {
        let _ = fs::remove_file(path);
        NetnsError::pin(path, "mount it")(e.into())
    })
}

fn unpin(path: &Path) -> Result<(), NetnsError> {
    // One round for each mount that lies on the file, which is one unless someone meddled.
    while is_pinned(path) {
        unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .map_err(|e| NetnsError::pin(path, "unmount it")(e.into()))?;
    }
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(NetnsError::pin(path, "remove it")(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
