// SPDX-License-Identifier: Apache-2.0

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, StatxFlags, statvfs, statx};

/// What a container has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesystemUsage {
    /// When it was measured, nanoseconds since the Unix epoch.
    pub at_ns: i64,
    /// Mount point of the file system that holds it.
    pub mountpoint: PathBuf,
    /// Bytes on disk.
    pub used_bytes: u64,
    /// Files, directories and so on.
    pub inodes_used: u64,
}

/// A file system as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilesystemCapacity {
    /// Its device, such as `/dev/vda1`, or another word of the kernel for where it comes from.
    pub device: String,
    /// Bytes.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
    /// Inodes that are free.
    pub inodes_free: u64,
}

impl FilesystemCapacity {
    /// The file system that holds `path`. The same for all containers of a node: once a call.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of(path: &Path) -> io::Result<Self> {
        let all = statvfs(path)?;
        let mount = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID)?.stx_mnt_id;
        let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo")?;
        Ok(Self {
            device: source(&mounts, mount).unwrap_or("unknown").to_owned(),
            bytes: all.f_blocks.saturating_mul(all.f_frsize),
            inodes: all.f_files,
            inodes_free: all.f_ffree,
        })
    }
}

/// Source of the mount numbered `id`: the second field after the lone dash.
fn source(mounts: &str, id: u64) -> Option<&str> {
    let id = id.to_string();
    let line = mounts.lines().find(|line| line.split(' ').next() == Some(&id))?;
    line.split_once(" - ")?.1.split(' ').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_is_found_by_the_number_of_the_mount() {
        let text = "22 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n2 22 0:5 / /x rw - tmpfs t rw\n";
        assert_eq!(source(text, 22), Some("/dev/vda"));
        assert_eq!(source(text, 2), Some("t"));
        assert_eq!(source(text, 3), None);
    }

    #[test]
    fn this_hosts_file_system_has_a_size() {
        let root = FilesystemCapacity::of(Path::new("/")).unwrap();
        assert!(root.bytes > 0 && !root.device.is_empty());
        assert!(FilesystemCapacity::of(Path::new("/nowhere")).is_err());
    }
}
