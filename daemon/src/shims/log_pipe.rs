// SPDX-License-Identifier: Apache-2.0
//! The `log` pipe of a bundle, into which a third-party shim writes its own log.

use std::{io, path::Path};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::unix::pipe,
    task::JoinHandle,
};

use super::ShimError;

/// Name of the pipe in a bundle.
const LOG: &str = "log";
/// Longest piece of a line that is passed on, in bytes.
const LINE: usize = 1024;

/// Reads the log pipe of one bundle for as long as it lives. It must be there before the shim
/// starts, or Go's shims end and others wait; and it must be read all the time, or some stop.
#[derive(Debug)]
pub struct LogPipe(JoinHandle<()>);

impl LogPipe {
    /// Makes the pipe if it is not there, and passes its lines to the daemon's log as `id`'s.
    ///
    /// # Errors
    /// [`ShimError::File`].
    pub fn open(bundle: &Path, id: &str) -> Result<Self, ShimError> {
        let path = bundle.join(LOG);
        let pipe = open(&path).map_err(|e| ShimError::file(&path, e))?;
        Ok(Self(tokio::spawn(pass_on(pipe, id.to_owned()))))
    }
}

impl Drop for LogPipe {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn open(path: &Path) -> io::Result<pipe::Receiver> {
    match mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    // Held for writing too, the pipe never ends between one writer and the next.
    pipe::OpenOptions::new().read_write(true).open_receiver(path)
}

async fn pass_on(pipe: pipe::Receiver, id: String) {
    let mut reader = BufReader::with_capacity(4096, pipe);
    while let Ok(bytes) = reader.fill_buf().await {
        // A line longer than the buffer is passed on in pieces.
        let end = bytes.iter().position(|b| *b == b'\n');
        let (line, used) = end.map_or((bytes, bytes.len()), |n| (&bytes[..n], n + 1));
        report(&id, &String::from_utf8_lossy(&line[..line.len().min(LINE)]));
        reader.consume(used);
    }
}

/// Go shims write `level=…` into their lines.
fn report(id: &str, line: &str) {
    let alarming = ["level=warning", "level=error", "level=fatal", "level=panic"];
    if alarming.iter().any(|level| line.contains(level)) {
        tracing::warn!(id, line, "shim");
    } else {
        tracing::debug!(id, line, "shim");
    }
}
