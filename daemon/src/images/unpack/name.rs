// SPDX-License-Identifier: Apache-2.0
//! Names in the archive, made relative to the layer's top, and what whiteout names mean.

use super::error::UnpackError;

/// Longest path the kernel takes, including its end.
const PATH_MAX: usize = 4096;
/// Longest name in a directory.
const NAME_MAX: usize = 255;
const WHITEOUT: &[u8] = b".wh.";
/// aufs kept its own files under names of this kind; only the opaque mark has a meaning.
const WHITEOUT_META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What a name asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The layer's own top directory.
    Top,
    /// An ordinary object.
    Object(Place),
    /// Hide this name of the layers below.
    Whiteout(Place),
    /// Hide everything in this directory of the layers below. Empty is the top.
    Opaque(Vec<u8>),
    /// Leftovers of aufs.
    Meta,
}

/// A directory (empty is the top) and a name in it.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(super) struct Place {
    pub(super) parent: Vec<u8>,
    pub(super) name: Vec<u8>,
}

impl Place {
    /// Path from the layer's top.
    pub(super) fn path(&self) -> Vec<u8> {
        if self.parent.is_empty() {
            return self.name.clone();
        }
        [&self.parent[..], b"/", &self.name].concat()
    }

    /// The last name of a path that [`clean`] made; none for the top.
    pub(super) fn of(path: &[u8]) -> Option<Self> {
        let slash = path.iter().rposition(|&c| c == b'/');
        let (parent, name) = match slash {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&path[..0], path),
        };
        (!name.is_empty()).then(|| Self { parent: parent.to_vec(), name: name.to_vec() })
    }
}

/// Makes `raw` a path from the layer's top without `.` and empty parts. A leading slash means
/// that top too: several image builders write their names so.
pub(super) fn clean(raw: &[u8]) -> Result<Vec<u8>, UnpackError> {
    if raw.len() >= PATH_MAX {
        return Err(UnpackError::refused(&raw[..64], "the path is longer than 4095 bytes"));
    }
    if raw.contains(&0) {
        return Err(UnpackError::refused(raw, "the path contains a NUL byte"));
    }
    let mut path = Vec::with_capacity(raw.len());
    for part in raw.split(|&c| c == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err(UnpackError::refused(raw, "the path contains '..'")),
            _ if part.len() > NAME_MAX => {
                return Err(UnpackError::refused(raw, "a part is longer than 255 bytes"));
            }
            _ => {}
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(part);
    }
    Ok(path)
}

/// Reads an entry's name.
pub(super) fn read(raw: &[u8]) -> Result<Meaning, UnpackError> {
    let path = clean(raw)?;
    let Some(place) = Place::of(&path) else { return Ok(Meaning::Top) };
    if place.parent.split(|&c| c == b'/').any(|part| part.starts_with(WHITEOUT_META)) {
        return Ok(Meaning::Meta);
    }
    if place.name == OPAQUE {
        return Ok(Meaning::Opaque(place.parent));
    }
    if place.name.starts_with(WHITEOUT_META) {
        return Ok(Meaning::Meta);
    }
    let Some(hidden) = place.name.strip_prefix(WHITEOUT) else {
        return Ok(Meaning::Object(place));
    };
    if matches!(hidden, b"" | b"." | b"..") {
        return Err(UnpackError::refused(raw, "the whiteout names nothing that can be hidden"));
    }
    Ok(Meaning::Whiteout(Place { parent: place.parent, name: hidden.to_vec() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(parent: &str, name: &str) -> Place {
        Place { parent: parent.into(), name: name.into() }
    }

    #[test]
    fn names_are_taken_from_the_layers_top() {
        for top in ["", ".", "./", "/", "//."] {
            assert_eq!(read(top.as_bytes()).unwrap(), Meaning::Top, "{top:?}");
        }
        assert_eq!(read(b"./a//b/./c/").unwrap(), Meaning::Object(place("a/b", "c")));
        assert_eq!(read(b"/etc/passwd").unwrap(), Meaning::Object(place("etc", "passwd")));
    }

    #[test]
    fn dot_dot_and_nul_and_endless_names_are_refused() {
        let long_part = vec![b'x'; 256];
        let long_path = vec![b'/'; 4096];
        for bad in [&b".."[..], b"../x", b"a/../../x", b"a/..", b"a\0b", &long_part, &long_path] {
            assert!(read(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
        assert_eq!(read(b"..a/b..").unwrap(), Meaning::Object(place("..a", "b..")));
    }

    #[test]
    fn whiteouts_and_opaque_marks_are_told_apart() {
        assert_eq!(read(b"a/.wh.b").unwrap(), Meaning::Whiteout(place("a", "b")));
        assert_eq!(read(b"a/.wh..wh..opq").unwrap(), Meaning::Opaque(b"a".to_vec()));
        assert_eq!(read(b".wh..wh..opq").unwrap(), Meaning::Opaque(vec![]));
        assert_eq!(read(b".wh..wh.plnk/1.2").unwrap(), Meaning::Meta);
        assert_eq!(read(b".wh..wh.aufs").unwrap(), Meaning::Meta);
        for bad in [&b".wh."[..], b".wh..", b"a/.wh..."] {
            assert!(read(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }
}
