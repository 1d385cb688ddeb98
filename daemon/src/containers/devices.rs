// SPDX-License-Identifier: Apache-2.0
//! Devices of the host that a container asks for, looked up.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::spec::Device;

/// Directories of `/dev` whose nodes belong to namespaces or to other programs' containers.
const NOT_OF_THE_HOST: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];
/// A container's console is made by the OCI runtime.
const CONSOLE: &str = "console";
/// Deepest nesting of device directories that is followed.
const MAX_DEPTH: usize = 16;

/// A device node to be made in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedDevice {
    /// Path in the container.
    pub path: PathBuf,
    /// Kind of node.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits of the node.
    pub mode: u32,
    /// Owner of the node.
    pub uid: u32,
    /// Group of the node.
    pub gid: u32,
    /// What the container may do with the device: some of `rwm`.
    pub permissions: String,
}

/// Kinds of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    /// Character device.
    Char,
    /// Block device.
    Block,
    /// Named pipe; only CDI asks for these.
    Fifo,
}

/// Why a device cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// There is nothing at the path, or it cannot be looked at.
    #[error("device {path:?} of the host cannot be used")]
    Host {
        /// Path on the host.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Neither a device nor a directory.
    #[error("{0:?} is neither a device nor a directory of devices")]
    NotADevice(PathBuf),
    /// A directory without any device below it.
    #[error("directory {0:?} holds no device")]
    NoDevices(PathBuf),
    /// A target that is not an absolute path.
    #[error("device target {0:?} is not an absolute path")]
    Target(PathBuf),
    /// Permissions other than some of `rwm`.
    #[error("device {path:?}: permissions {permissions:?} are not one or more of r, w and m")]
    Permissions {
        /// Path on the host.
        path: PathBuf,
        /// What was asked.
        permissions: String,
    },
}

impl DeviceError {
    /// Whether the host lacks what was asked for, rather than the request being wrong.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Host { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Looks up requested devices; a directory stands for every device below it. Blocks.
///
/// # Errors
/// [`DeviceError`] names the first device that cannot be given.
pub fn resolve(requested: &[Device]) -> Result<Vec<ResolvedDevice>, DeviceError> {
    let mut found = Vec::new();
    for device in requested {
        found.extend(resolve_one(device)?);
    }
    Ok(found)
}

/// Every device of the host, for a privileged container. What vanishes meanwhile is passed over.
/// Blocks.
///
/// # Errors
/// [`DeviceError`] when `/dev` cannot be read.
pub fn of_the_host() -> Result<Vec<ResolvedDevice>, DeviceError> {
    let dev = Path::new("/dev");
    let mut found = Vec::new();
    walk(dev, dev, "rwm", 0, &mut found)?;
    Ok(found)
}

/// The device at `host_path`, as it will be at `path` in a container.
///
/// # Errors
/// [`DeviceError`] when there is none.
pub fn node_at(
    host_path: &Path,
    path: &Path,
    permissions: &str,
) -> Result<ResolvedDevice, DeviceError> {
    let metadata = metadata(host_path)?;
    node(&metadata, path, permissions).ok_or_else(|| DeviceError::NotADevice(host_path.to_owned()))
}

fn resolve_one(asked: &Device) -> Result<Vec<ResolvedDevice>, DeviceError> {
    check_permissions(&asked.host_path, &asked.permissions)?;
    let target = if asked.container_path.as_os_str().is_empty() {
        &asked.host_path
    } else {
        &asked.container_path
    };
    if !target.is_absolute() {
        return Err(DeviceError::Target(target.clone()));
    }
    if !metadata(&asked.host_path)?.is_dir() {
        return Ok(vec![node_at(&asked.host_path, target, &asked.permissions)?]);
    }
    let mut found = Vec::new();
    walk(&asked.host_path, target, &asked.permissions, 0, &mut found)?;
    if found.is_empty() {
        return Err(DeviceError::NoDevices(asked.host_path.clone()));
    }
    Ok(found)
}

fn check_permissions(path: &Path, permissions: &str) -> Result<(), DeviceError> {
    if !permissions.is_empty() && permissions.chars().all(|c| matches!(c, 'r' | 'w' | 'm')) {
        return Ok(());
    }
    Err(DeviceError::Permissions { path: path.to_owned(), permissions: permissions.to_owned() })
}

fn walk(
    host: &Path,
    target: &Path,
    permissions: &str,
    depth: usize,
    found: &mut Vec<ResolvedDevice>,
) -> Result<(), DeviceError> {
    let failed = |source| DeviceError::Host { path: host.to_owned(), source };
    let mut entries: Vec<_> = fs::read_dir(host).map_err(failed)?.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let Ok(metadata) = entry.path().symlink_metadata() else { continue };
        let target = target.join(&name);
        if metadata.is_dir() {
            if depth < MAX_DEPTH && !NOT_OF_THE_HOST.iter().any(|other| name == *other) {
                walk(&entry.path(), &target, permissions, depth + 1, found)?;
            }
        } else if name != CONSOLE {
            found.extend(
                node(&metadata, &target, permissions).filter(|n| n.kind != DeviceKind::Fifo),
            );
        }
    }
    Ok(())
}

fn metadata(path: &Path) -> Result<fs::Metadata, DeviceError> {
    fs::metadata(path).map_err(|source| DeviceError::Host { path: path.to_owned(), source })
}

fn node(metadata: &fs::Metadata, path: &Path, permissions: &str) -> Option<ResolvedDevice> {
    let kind = match metadata.file_type() {
        kind if kind.is_char_device() => DeviceKind::Char,
        kind if kind.is_block_device() => DeviceKind::Block,
        kind if kind.is_fifo() => DeviceKind::Fifo,
        _ => return None,
    };
    let number = metadata.rdev();
    Some(ResolvedDevice {
        path: path.to_owned(),
        kind,
        major: rustix::fs::major(number),
        minor: rustix::fs::minor(number),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        permissions: permissions.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(
        host: &str,
        container: &str,
        permissions: &str,
    ) -> Result<Vec<ResolvedDevice>, DeviceError> {
        resolve(&[Device {
            host_path: host.into(),
            container_path: container.into(),
            permissions: permissions.into(),
        }])
    }

    #[test]
    fn a_device_is_found_with_its_numbers() {
        let found = ask("/dev/null", "/dev/mine", "rw").unwrap();
        assert_eq!((found[0].major, found[0].minor, found[0].kind), (1, 3, DeviceKind::Char));
        assert_eq!(found[0].path, Path::new("/dev/mine"));
        assert_eq!(ask("/dev/null", "", "r").unwrap()[0].path, Path::new("/dev/null"));
    }

    #[test]
    fn a_directory_stands_for_its_devices() {
        let all = ask("/dev", "/host/dev", "r").unwrap();
        assert!(all.iter().any(|device| device.path == Path::new("/host/dev/null")));
        assert!(all.iter().all(|device| !device.path.starts_with("/host/dev/pts")));
        assert!(of_the_host().unwrap().iter().any(|d| d.path == Path::new("/dev/zero")));
    }

    #[test]
    fn what_is_no_device_is_refused_by_name() {
        assert!(ask("/dev/no-such", "", "r").unwrap_err().is_not_found());
        let empty = tempfile::tempdir().unwrap();
        let file = empty.path().join("file");
        let dir = empty.path().to_str().unwrap();
        assert!(matches!(ask(dir, "/d", "r"), Err(DeviceError::NoDevices(_))));
        fs::write(&file, "").unwrap();
        let path = file.to_str().unwrap();
        assert!(matches!(ask(path, "/d", "r"), Err(DeviceError::NotADevice(_))));
        for permissions in ["", "x", "rwx"] {
            assert!(matches!(
                ask("/dev/null", "", permissions),
                Err(DeviceError::Permissions { .. })
            ));
        }
        assert!(matches!(ask("/dev/null", "relative", "r"), Err(DeviceError::Target(_))));
    }
}
