// SPDX-License-Identifier: Apache-2.0

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Weak,
    time::Duration,
};

use inotify::{Inotify, WatchMask};
use tokio::{io::unix::AsyncFd, time::sleep};

use super::Inner;
use crate::sys::watched::readable;

/// Editors and installers write in several steps: the directory is read when they have paused.
const QUIET: Duration = Duration::from_millis(50);
/// Pause before another try to watch a directory that cannot be watched.
const RETRY: Duration = Duration::from_secs(5);

/// A watched directory.
pub(super) struct Watch {
    inotify: AsyncFd<Inotify>,
    directory: PathBuf,
}

/// Makes the directory if it is missing and watches it. The first look at the directory must come
/// after this, so that nothing is missed.
pub(super) fn start(directory: &Path) -> io::Result<Watch> {
    fs::create_dir_all(directory)?;
    let inotify = Inotify::init()?;
    watch(&inotify, directory)?;
    // Files of plugins beside a list are one level below. A missing one is not an error.
    for entry in fs::read_dir(directory)?.flatten().filter(|entry| entry.path().is_dir()) {
        let _ = watch(&inotify, &entry.path());
    }
    Ok(Watch { inotify: readable(inotify)?, directory: directory.to_owned() })
}

fn watch(inotify: &Inotify, directory: &Path) -> io::Result<()> {
    let mask = WatchMask::CREATE
        | WatchMask::CLOSE_WRITE
        | WatchMask::MOVED_FROM
        | WatchMask::MOVED_TO
        | WatchMask::DELETE
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF
        | WatchMask::ONLYDIR;
    inotify.watches().add(directory, mask).map(drop)
}

/// Reloads the network whenever its directory changes, until the network is dropped.
pub(super) async fn keep_current(inner: Weak<Inner>, first: io::Result<Watch>) {
    let mut current = first;
    loop {
        match &mut current {
            Ok(watch) => {
                if let Err(error) = watch.changed().await {
                    let directory = watch.directory.display();
                    tracing::warn!(%directory, %error, "cannot watch network configurations");
                    sleep(RETRY).await;
                }
                sleep(QUIET).await;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot watch network configurations");
                sleep(RETRY).await;
            }
        }
        let Some(network) = inner.upgrade() else { return };
        // A new watch each time: the directory itself, or those in it, may be new.
        current = start(&network.settings.network_dir);
        network.reload();
    }
}

impl Watch {
    async fn changed(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let mut ready = self.inotify.readable_mut().await?;
            match ready.try_io(|fd| fd.get_mut().read_events(&mut buffer).map(|_| ())) {
                Ok(done) => return done,
                Err(_would_block) => {}
            }
        }
    }
}
