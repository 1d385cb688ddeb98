// SPDX-License-Identifier: Apache-2.0
//! Files of the daemon's own: made so that a second time does no harm, removed so that a missing
//! one is no error.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::Path,
};

/// Makes a directory and its parents, each with `mode` if it is new.
///
/// # Errors
/// The file system's error.
pub fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// Removes a directory and all below it. Never crosses into a mount: one that is left would be
/// emptied.
///
/// # Errors
/// The file system's error; `EBUSY` from a mount that is still there.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let here = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    if !here.is_dir() {
        return fs::remove_file(path);
    }
    remove_below(path, std::os::unix::fs::MetadataExt::dev(&here))?;
    fs::remove_dir(path)
}

fn remove_below(dir: &Path, device: u64) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if entry.metadata()?.dev() != device {
                let text = format!("{} is still mounted", path.display());
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
            }
            remove_below(&path, device)?;
            fs::remove_dir(&path)?;
        } else {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_removed_and_a_missing_one_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("a");
        make_dir(&tree.join("b/c"), 0o700).unwrap();
        fs::write(tree.join("b/f"), "x").unwrap();
        std::os::unix::fs::symlink("/", tree.join("b/link")).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        remove_tree(&tree).unwrap();
    }
}
