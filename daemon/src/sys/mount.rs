// SPDX-License-Identifier: Apache-2.0
#![expect(unsafe_code, reason = "mount_setattr(2) is wrapped by neither rustix nor nix")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Makes `mount` (a descriptor of its root) neither send nor receive mount events.
pub(crate) fn make_private(mount: impl AsFd) -> io::Result<()> {
    let attr = MountAttr { attr_set: 0, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    set_attr(mount, &attr)
}

/// Makes the detached mount `mount` show owners as mapped by the user namespace `userns`.
/// Kernel 5.12 for some filesystems; overlayfs takes such layers from 5.19.
pub(crate) fn map_ids(mount: impl AsFd, userns: impl AsFd) -> io::Result<()> {
    let userns_fd = u64::try_from(userns.as_fd().as_raw_fd()).map_err(io::Error::other)?;
    let attr =
        MountAttr { attr_set: libc::MOUNT_ATTR_IDMAP, attr_clr: 0, propagation: 0, userns_fd };
    set_attr(mount, &attr)
}

fn set_attr(mount: impl AsFd, attr: &MountAttr) -> io::Result<()> {
    // SAFETY: the path is a NUL-terminated literal, `attr` is a live `struct mount_attr` of exactly
    // the size passed, and the kernel only reads both.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
