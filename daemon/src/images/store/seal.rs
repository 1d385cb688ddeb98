// SPDX-License-Identifier: Apache-2.0
//! A layer's seal: one digest over all that its directory holds. An archive's own digest cannot
//! be had again from the files that were unpacked from it; the seal is what a later look is
//! compared with. It is made in the background, after the layer was announced.

use std::{
    collections::{HashMap, hash_map::Entry},
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::Path,
};

use super::{
    LayerKey, Store,
    durable::{Outlives, write_record},
};
use crate::images::digest::{Digest, Hasher};

/// Name of the file with the seal, beside the layer's files.
pub(crate) const SEAL: &str = "seal";

/// Bytes read at once.
const CHUNK: usize = 128 * 1024;

/// The seal of what is below `dir` now: names, kinds, modes, owners, extended attributes, targets
/// of links, contents. Times are left out. Blocks for as long as it takes to read it all.
///
/// # Errors
/// Something cannot be read.
pub(crate) fn compute(dir: &Path) -> io::Result<Digest> {
    let mut hasher = Hasher::sha256();
    below(dir, &mut hasher, &mut HashMap::new())?;
    Ok(hasher.finish())
}

/// Inodes with several names, by the order in which they were met: each is read once.
type Linked = HashMap<u64, u64>;

fn below(dir: &Path, hasher: &mut Hasher, linked: &mut Linked) -> io::Result<()> {
    let mut entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, meta) = (entry.path(), entry.metadata()?);
        text(hasher, entry.file_name().as_bytes());
        for number in [meta.mode(), meta.uid(), meta.gid()] {
            hasher.update(&number.to_le_bytes());
        }
        attributes(&path, hasher)?;
        let kind = meta.file_type();
        if kind.is_dir() {
            below(&path, hasher, linked)?;
        } else if kind.is_symlink() {
            text(hasher, fs::read_link(&path)?.as_os_str().as_bytes());
        } else if kind.is_file() {
            hasher.update(&meta.size().to_le_bytes());
            let next = linked.len() as u64 + 1;
            match (meta.nlink(), linked.entry(meta.ino())) {
                (2.., Entry::Occupied(met)) => hasher.update(&met.get().to_le_bytes()),
                (2.., Entry::Vacant(first)) => {
                    first.insert(next);
                    content(&path, hasher)?;
                }
                _ => content(&path, hasher)?,
            }
        } else if kind.is_block_device() || kind.is_char_device() {
            hasher.update(&meta.rdev().to_le_bytes());
        }
        // Nothing begins with a zero length: the end of a directory is told from its next entry.
    }
    hasher.update(&0_u64.to_le_bytes());
    Ok(())
}

/// Bytes of their own length first.
fn text(hasher: &mut Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

fn attributes(path: &Path, hasher: &mut Hasher) -> io::Result<()> {
    let mut list = vec![0; 64 * 1024];
    let length = match rustix::fs::llistxattr(path, &mut list[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut names: Vec<_> =
        list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    let mut value = vec![0; 64 * 1024];
    for name in names {
        let length = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value[..])?;
        text(hasher, name);
        text(hasher, &value[..length]);
    }
    Ok(())
}

fn content(path: &Path, hasher: &mut Hasher) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(()),
            length => hasher.update(&chunk[..length]),
        }
    }
}

/// The seal on record below a layer's directory.
pub(crate) fn recorded(layer: &Path) -> Option<Digest> {
    fs::read_to_string(layer.join(SEAL)).ok()?.trim().parse().ok()
}

impl Store {
    /// Seals the layers that have no seal yet. A layer that goes away meanwhile is no loss, and is
    /// not kept for this. Blocks.
    pub(crate) fn seal(&self, layers: &[LayerKey]) {
        for key in layers {
            let dir = self.layers_dir().join(key.as_str());
            match self.seal_layer(key, &dir) {
                Err(error) if identity(&dir).is_some() => {
                    tracing::warn!(layer = %key, error, "layer is not sealed");
                }
                // Removed.
                Err(_) | Ok(()) => {}
            }
        }
    }

    /// Seals one layer, unless it has a seal or is gone.
    fn seal_layer(&self, key: &LayerKey, dir: &Path) -> Result<(), String> {
        let Some(before) = identity(dir) else { return Ok(()) };
        if dir.join(SEAL).exists() {
            return Ok(());
        }
        let seal = compute(&dir.join("diff")).map_err(|error| error.to_string())?;
        // A layer that is removed leaves its place, under this lock, before the first of its files
        // goes. One that is still in place was whole all the time.
        let state = self.state();
        if !state.layers.contains(key) || identity(dir) != Some(before) {
            return Ok(());
        }
        write_record(dir, SEAL, seal.as_str().as_bytes(), Outlives::Process)
            .map_err(|error| error.to_string())
    }
}

/// Which directory stands at a path, if any: its device and inode.
fn identity(dir: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(dir).ok().map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn every_change_but_of_times_breaks_the_seal() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("d")).unwrap();
        fs::write(at("d/f"), "one").unwrap();
        symlink("f", at("d/l")).unwrap();
        fs::hard_link(at("d/f"), at("d/g")).unwrap();
        let mut seals = vec![compute(dir.path()).unwrap()];
        File::open(at("d/f")).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(compute(dir.path()).unwrap(), seals[0]);
        let changes: [&dyn Fn(); 5] = [
            &|| fs::write(at("d/f"), "two").unwrap(),
            &|| fs::set_permissions(at("d/f"), fs::Permissions::from_mode(0o600)).unwrap(),
            &|| fs::rename(at("d/f"), at("f")).unwrap(),
            &|| fs::remove_file(at("d/l")).unwrap(),
            &|| symlink("g", at("d/l")).unwrap(),
        ];
        for change in changes {
            change();
            let seal = compute(dir.path()).unwrap();
            assert!(!seals.contains(&seal));
            seals.push(seal);
        }
    }
}
