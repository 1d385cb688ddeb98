// SPDX-License-Identifier: Apache-2.0
//! Deletes directory trees in the background: out of sight at once, gone a little later.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use crate::images::error::ImageError;

const TRASH: &str = ".trash";
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A name no other directory of this or an earlier process has.
pub(super) fn unique_name() -> String {
    let mut random = [0; 8];
    // Without randomness the counter and the pid still tell names apart.
    let _ = getrandom::fill(&mut random);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{:x}-{number:x}-{:016x}", std::process::id(), u64::from_ne_bytes(random))
}

/// Handle to the thread that deletes.
#[derive(Clone)]
pub(super) struct Trash {
    dir: Arc<PathBuf>,
    jobs: mpsc::Sender<PathBuf>,
}

impl Trash {
    /// Starts the thread, with what an earlier daemon did not get done. It ends with the last
    /// handle.
    pub(super) fn open(parent: &Path) -> Result<Self, ImageError> {
        let dir = parent.join(TRASH);
        std::fs::create_dir_all(&dir).map_err(ImageError::host("make directory", &dir))?;
        let (jobs, queue) = mpsc::channel::<PathBuf>();
        std::thread::Builder::new()
            .name("image-trash".to_owned())
            .spawn(move || queue.iter().for_each(|path| delete(&path)))
            .map_err(ImageError::host("start a thread for", &dir))?;
        let leftovers = std::fs::read_dir(&dir).map_err(ImageError::host("list", &dir))?;
        for entry in leftovers.filter_map(Result::ok) {
            let _ = jobs.send(entry.path());
        }
        Ok(Self { dir: Arc::new(dir), jobs })
    }

    /// Moves `path` out of its place and has it deleted.
    pub(super) fn throw(&self, path: &Path) {
        let hidden = self.dir.join(unique_name());
        match std::fs::rename(path, &hidden) {
            Ok(()) => drop(self.jobs.send(hidden)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot be thrown away, deleting it in place");
                drop(self.jobs.send(path.to_owned()));
            }
        }
    }
}

fn delete(path: &Path) {
    if let Err(error) = std::fs::remove_dir_all(path) {
        tracing::warn!(path = %path.display(), %error, "garbage stays");
    }
}
