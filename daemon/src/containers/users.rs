// SPDX-License-Identifier: Apache-2.0
//! Who a container's first process is: the request, the image's default and the image's own
//! `/etc/passwd` and `/etc/group`, which are read inside the root filesystem and nowhere else.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use serde::{Deserialize, Serialize};

use super::spec::{GroupsPolicy, RunAs};

/// Largest passwd or group file read, bytes.
const MAX_FILE: u64 = 8 << 20;

/// The first process's ids, all numeric.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplemental groups, the primary first, none twice.
    pub groups: Vec<u32>,
}

/// What was asked about the user.
#[derive(Debug, Clone, Copy)]
pub struct UserRequest<'a> {
    /// The request's user and group.
    pub run_as: &'a RunAs,
    /// The image's `USER`: `user`, `user:group`, names or numbers, or empty.
    pub image_user: &'a str,
    /// Groups requested.
    pub supplemental_groups: &'a [u32],
    /// Whether the image's groups count.
    pub policy: GroupsPolicy,
}

/// Why a user cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The passwd file has no such name.
    #[error("the image's /etc/passwd has no user {0:?}")]
    NoUser(String),
    /// The group file has no such name.
    #[error("the image's /etc/group has no group {0:?}")]
    NoGroup(String),
    /// A file in the image cannot be read.
    #[error("cannot read {path:?} of the image")]
    Read {
        /// Path in the image.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file in the image is too large to be what it should be.
    #[error("{path:?} of the image is larger than {MAX_FILE} bytes")]
    TooLarge {
        /// Path in the image.
        path: PathBuf,
    },
}

/// Resolves a request against the root filesystem mounted at `rootfs`. Blocks on file reads.
///
/// # Errors
/// [`UserError`] when a name is unknown or a file cannot be read.
pub fn resolve_in(rootfs: &Path, request: &UserRequest<'_>) -> Result<ResolvedUser, UserError> {
    let passwd = read_inside(rootfs, Path::new("etc/passwd"))?;
    let group = read_inside(rootfs, Path::new("etc/group"))?;
    resolve(request, &passwd, &group)
}

/// Resolves a request against the contents of a passwd and a group file.
///
/// # Errors
/// [`UserError`] when a name is unknown.
pub fn resolve(
    request: &UserRequest<'_>,
    passwd: &[u8],
    group: &[u8],
) -> Result<ResolvedUser, UserError> {
    let found = match request.run_as {
        RunAs::Uid { uid, gid } => Found::by_uid(*uid, passwd).with_gid(*gid),
        RunAs::Name { name, gid } => Found::by_name(name, passwd)?.with_gid(*gid),
        RunAs::Image => from_image(request.image_user, passwd, group)?,
    };
    let mut groups = vec![found.gid];
    // The image's before the pod's: the kubelet's own suite compares the list as it is told.
    if let (GroupsPolicy::Merge, Some(name)) = (request.policy, &found.name) {
        groups.extend(group_lines(group).filter(|line| line.has_member(name)).map(|line| line.gid));
    }
    groups.extend_from_slice(request.supplemental_groups);
    keep_first(&mut groups);
    Ok(ResolvedUser { uid: found.uid, gid: found.gid, groups })
}

/// A user, known to the passwd file or not.
struct Found {
    name: Option<String>,
    uid: u32,
    gid: u32,
}

impl Found {
    /// A uid the passwd file does not know has group 0 and no name.
    fn by_uid(uid: u32, passwd: &[u8]) -> Self {
        match passwd_lines(passwd).find(|line| line.uid == uid) {
            Some(line) => Self { name: Some(line.name.to_owned()), uid, gid: line.gid },
            None => Self { name: None, uid, gid: 0 },
        }
    }

    fn by_name(name: &str, passwd: &[u8]) -> Result<Self, UserError> {
        match passwd_lines(passwd).find(|line| line.name == name) {
            Some(line) => Ok(Self { name: Some(name.to_owned()), uid: line.uid, gid: line.gid }),
            None => Err(UserError::NoUser(name.to_owned())),
        }
    }

    fn with_gid(self, gid: Option<u32>) -> Self {
        Self { gid: gid.unwrap_or(self.gid), ..self }
    }
}

/// A name of digits is looked up as a name first, as image builders do.
fn from_image(image_user: &str, passwd: &[u8], group: &[u8]) -> Result<Found, UserError> {
    let (user, group_name) = image_user.split_once(':').unwrap_or((image_user, ""));
    let found = match (user.is_empty(), Found::by_name(user, passwd), user.parse()) {
        (true, ..) => Found::by_uid(0, passwd),
        (_, Ok(found), _) => found,
        (_, Err(_), Ok(uid)) => Found::by_uid(uid, passwd),
        (_, Err(unknown), Err(_)) => return Err(unknown),
    };
    if group_name.is_empty() {
        return Ok(found);
    }
    let by_name = group_lines(group).find(|line| line.name == group_name).map(|line| line.gid);
    let gid = by_name
        .or_else(|| group_name.parse().ok())
        .ok_or_else(|| UserError::NoGroup(group_name.to_owned()))?;
    Ok(found.with_gid(Some(gid)))
}

fn keep_first(groups: &mut Vec<u32>) {
    let mut seen = std::collections::HashSet::new();
    groups.retain(|gid| seen.insert(*gid));
}

struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

struct GroupLine<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl GroupLine<'_> {
    fn has_member(&self, name: &str) -> bool {
        self.members.split(',').any(|member| member.trim() == name)
    }
}

/// Lines that are not `name:password:uid:gid…` are passed over, as the C library does.
fn passwd_lines(text: &[u8]) -> impl Iterator<Item = PasswdLine<'_>> {
    lines(text).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = fields.nth(1)?.parse().ok()?;
        Some(PasswdLine { name, uid, gid: fields.next()?.parse().ok()? })
    })
}

fn group_lines(text: &[u8]) -> impl Iterator<Item = GroupLine<'_>> {
    lines(text).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(GroupLine { name, gid, members: fields.next().unwrap_or("") })
    })
}

/// A line that is not UTF-8 cannot name anyone a request could ask for.
fn lines(text: &[u8]) -> impl Iterator<Item = &str> {
    text.split(|c| *c == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
}

/// Reads a file of an image, following symbolic links as the container would see them; a file
/// that is not there is empty.
fn read_inside(rootfs: &Path, path: &Path) -> Result<Vec<u8>, UserError> {
    let failed = |source: io::Error| UserError::Read { path: path.to_owned(), source };
    let root = rustix::fs::open(rootfs, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| failed(e.into()))?;
    let file = match open_inside(&root, path) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(Vec::new()),
        Err(e) => return Err(failed(e.into())),
    };
    let stat = fstat(&file).map_err(|e| failed(e.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(failed(io::Error::other("it is not a regular file")));
    }
    let mut content = Vec::new();
    File::from(file).take(MAX_FILE + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > MAX_FILE {
        return Err(UserError::TooLarge { path: path.to_owned() });
    }
    Ok(content)
}

fn open_inside(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    // NONBLOCK: an image may put a FIFO where its passwd file should be.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use proptest::prelude::*;
    use rustix::fs::CWD;

    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
        # a comment:x:5:5\nnobody:x:65534:65534::/:/bin/false\nbroken line\n\
        1000:x:7:8::/:/bin/sh\ndefault-user:x:1000:1000::/home:/bin/sh\n\xff\xfe:x:9:9::/:\n";
    const GROUP: &[u8] = b"root:x:0:\ndisk:x:6:root,default-user\nstaff:x:50:\n\
        group-defined-in-image:x:50000:nobody,default-user\ndefault-user:x:1000:\n";

    fn ask(
        run_as: RunAs,
        image_user: &str,
        policy: GroupsPolicy,
    ) -> Result<ResolvedUser, UserError> {
        let request =
            UserRequest { run_as: &run_as, image_user, supplemental_groups: &[1234, 1000], policy };
        resolve(&request, PASSWD, GROUP)
    }

    #[test]
    fn merge_adds_the_images_groups_and_strict_does_not() {
        let uid = RunAs::Uid { uid: 1000, gid: None };
        let merged = ask(uid.clone(), "", GroupsPolicy::Merge).unwrap();
        assert_eq!((merged.uid, merged.gid), (1000, 1000));
        assert_eq!(merged.groups, [1000, 6, 50000, 1234]);
        let strict = ask(uid, "", GroupsPolicy::Strict).unwrap();
        assert_eq!(strict.groups, [1000, 1234]);
    }

    #[test]
    fn an_unknown_uid_has_group_0_and_an_unknown_name_is_refused() {
        let user = ask(RunAs::Uid { uid: 4242, gid: None }, "", GroupsPolicy::Merge).unwrap();
        assert_eq!((user.uid, user.gid), (4242, 0));
        assert_eq!(user.groups, [0, 1234, 1000]);
        let name = RunAs::Name { name: "who".into(), gid: None };
        let error = ask(name, "", GroupsPolicy::Merge).unwrap_err();
        assert_eq!(error.to_string(), "the image's /etc/passwd has no user \"who\"");
    }

    #[test]
    fn a_requested_group_wins_over_passwd() {
        let user =
            ask(RunAs::Name { name: "nobody".into(), gid: Some(5) }, "", GroupsPolicy::Strict);
        let user = user.unwrap();
        assert_eq!((user.uid, user.gid, user.groups[0]), (65534, 5, 5));
    }

    #[test]
    fn the_images_user_is_read_in_all_its_forms() {
        let ids = |text| {
            let user = ask(RunAs::Image, text, GroupsPolicy::Strict)?;
            Ok::<_, UserError>((user.uid, user.gid))
        };
        assert_eq!(ids("").unwrap(), (0, 0));
        assert_eq!(ids("nobody").unwrap(), (65534, 65534));
        assert_eq!(ids("nobody:staff").unwrap(), (65534, 50));
        assert_eq!(ids("nobody:77").unwrap(), (65534, 77));
        assert_eq!(ids("1003:1004").unwrap(), (1003, 1004));
        assert_eq!(ids("1000").unwrap(), (7, 8), "a name of digits is a name first");
        assert_eq!(ids(":staff").unwrap(), (0, 50));
        assert!(matches!(ids("who"), Err(UserError::NoUser(_))));
        assert!(matches!(ids("nobody:who"), Err(UserError::NoGroup(_))));
        assert!(matches!(ids("-1"), Err(UserError::NoUser(_))));
    }

    #[test]
    fn links_of_an_image_stay_inside_it() {
        let image = tempfile::tempdir().unwrap();
        fs::create_dir_all(image.path().join("etc")).unwrap();
        fs::create_dir_all(image.path().join("usr/lib")).unwrap();
        fs::write(image.path().join("usr/lib/passwd"), "app:x:33:44::/:\n").unwrap();
        symlink("/usr/lib/passwd", image.path().join("etc/passwd")).unwrap();
        symlink("../../../../../../etc/group", image.path().join("etc/group")).unwrap();
        let request = UserRequest {
            run_as: &RunAs::Name { name: "app".into(), gid: None },
            image_user: "",
            supplemental_groups: &[],
            policy: GroupsPolicy::Merge,
        };
        // The group file is a link to itself once it is kept inside: an error, not the host's.
        assert!(matches!(resolve_in(image.path(), &request), Err(UserError::Read { .. })));
        fs::remove_file(image.path().join("etc/group")).unwrap();
        let user = resolve_in(image.path(), &request).unwrap();
        assert_eq!((user.uid, user.gid), (33, 44));
    }

    #[test]
    fn a_fifo_in_place_of_passwd_does_not_hang() {
        let image = tempfile::tempdir().unwrap();
        fs::create_dir_all(image.path().join("etc")).unwrap();
        let fifo = image.path().join("etc/passwd");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
        let read = read_inside(image.path(), Path::new("etc/passwd"));
        assert!(read.unwrap_err().to_string().contains("etc/passwd"));
    }

    proptest! {
        #[test]
        fn no_file_makes_the_reader_panic(passwd: Vec<u8>, group: Vec<u8>, user: String) {
            let request = UserRequest {
                run_as: &RunAs::Image,
                image_user: &user,
                supplemental_groups: &[],
                policy: GroupsPolicy::Merge,
            };
            if let Ok(found) = resolve(&request, &passwd, &group) {
                prop_assert_eq!(found.groups.first(), Some(&found.gid));
            }
        }

        #[test]
        fn a_written_user_is_found_again(
            name in "[a-z][a-z0-9-]{0,12}",
            uid: u32,
            gid: u32,
            noise in "([a-zA-Z:0-9,#]{0,20}\n){0,4}",
        ) {
            prop_assume!(!noise.lines().any(|line| line.starts_with(&format!("{name}:"))));
            let passwd = format!("{noise}{name}:x:{uid}:{gid}:::\n");
            let request = UserRequest {
                run_as: &RunAs::Name { name, gid: None },
                image_user: "",
                supplemental_groups: &[],
                policy: GroupsPolicy::Strict,
            };
            let found = resolve(&request, passwd.as_bytes(), b"").unwrap();
            prop_assert_eq!((found.uid, found.gid), (uid, gid));
        }
    }
}
