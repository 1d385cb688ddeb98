// SPDX-License-Identifier: Apache-2.0
//! The root filesystem mounts that a caller hands to Task.Create, in the options' spelling of
//! mount(8), and their undo.

use std::{
    ffi::CString,
    fs, io,
    path::{Path, PathBuf},
};

use containerd_shim_protos::api::Mount;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_remount, unmount,
};

/// A mount that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot mount {source_path} ({kind}) on {}", .target.display())]
pub(crate) struct MountError {
    source_path: String,
    kind: String,
    target: PathBuf,
    source: io::Error,
}

/// Mount options, sorted into what the kernel wants where.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    flags: MountFlagBits,
    recursive: bool,
    bind: bool,
    propagation: Option<&'static str>,
    data: Vec<String>,
}

type MountFlagBits = u32;

const FLAGS: [(&str, MountFlags); 10] = [
    ("ro", MountFlags::RDONLY),
    ("nosuid", MountFlags::NOSUID),
    ("nodev", MountFlags::NODEV),
    ("noexec", MountFlags::NOEXEC),
    ("noatime", MountFlags::NOATIME),
    ("nodiratime", MountFlags::NODIRATIME),
    ("relatime", MountFlags::RELATIME),
    ("strictatime", MountFlags::STRICTATIME),
    ("sync", MountFlags::SYNCHRONOUS),
    ("dirsync", MountFlags::DIRSYNC),
];

impl Options {
    fn parse(options: &[String]) -> Self {
        let mut parsed = Self::default();
        for option in options {
            match option.as_str() {
                "rw" | "defaults" | "suid" | "dev" | "exec" | "async" => {}
                "bind" => parsed.bind = true,
                "rbind" => (parsed.bind, parsed.recursive) = (true, true),
                "private" | "rprivate" => parsed.propagation = Some("private"),
                "slave" | "rslave" => parsed.propagation = Some("slave"),
                "shared" | "rshared" => parsed.propagation = Some("shared"),
                other => match FLAGS.iter().find(|(name, _)| *name == other) {
                    Some((_, flag)) => parsed.flags |= flag.bits(),
                    None => parsed.data.push(option.clone()),
                },
            }
        }
        parsed
    }
}

/// Mounts `mounts` one after the other on `root`, or below it when they name a target. On failure
/// what was mounted is undone.
pub(crate) fn mount_all(mounts: &[Mount], root: &Path) -> Result<(), MountError> {
    for entry in mounts {
        let target = root.join(entry.target.trim_start_matches('/'));
        let made = fs::create_dir_all(&target).and_then(|()| mount_one(entry, &target));
        if let Err(source) = made {
            unmount_all(root);
            let (source_path, kind) = (entry.source.clone(), entry.type_.clone());
            return Err(MountError { source_path, kind, target, source });
        }
    }
    Ok(())
}

fn mount_one(entry: &Mount, target: &Path) -> io::Result<()> {
    let options = Options::parse(&entry.options);
    let flags = MountFlags::from_bits_retain(options.flags);
    let data = CString::new(options.data.join(","))?;
    if options.bind || entry.type_ == "bind" {
        let recursive = if options.recursive { MountFlags::REC } else { MountFlags::empty() };
        let bind = MountFlags::BIND | recursive;
        mount(entry.source.as_str(), target, c"none", bind, Some(c""))?;
        if !flags.is_empty() {
            mount_remount(target, MountFlags::BIND | flags, c"")?;
        }
    } else {
        mount(entry.source.as_str(), target, entry.type_.as_str(), flags, Some(data.as_c_str()))?;
    }
    let propagation = match options.propagation {
        Some("private") => MountPropagationFlags::PRIVATE,
        Some("slave") => MountPropagationFlags::DOWNSTREAM,
        Some(_) => MountPropagationFlags::SHARED,
        None => return Ok(()),
    };
    Ok(mount_change(target, propagation)?)
}

/// Undoes every mount on `root`; a root that is not mounted is fine.
pub(crate) fn unmount_all(root: &Path) {
    while unmount(root, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_sorted_into_flags_and_data() {
        let words = ["rbind", "ro", "rslave", "lowerdir=/a:/b", "index=off", "rw"];
        let options = Options::parse(&words.map(str::to_owned));
        assert!(options.bind && options.recursive);
        assert_eq!(options.flags, MountFlags::RDONLY.bits());
        assert_eq!(options.propagation, Some("slave"));
        assert_eq!(options.data, ["lowerdir=/a:/b", "index=off"]);
    }
}
