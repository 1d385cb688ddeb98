// SPDX-License-Identifier: Apache-2.0
//! What was taken out of a pipe and is not in the log yet.
//!
//! The bytes go from the pipe into a file in one step of the kernel's, so that a process killed at
//! any moment leaves each of them in the one or the other. Positions only grow; what is done with
//! is punched out, so that the file is long and holds next to nothing.

use std::{
    fs::{File, OpenOptions},
    os::{
        fd::AsFd,
        unix::fs::{FileExt, OpenOptionsExt},
    },
    path::Path,
};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::{Errno, read},
    pipe::{SpliceFlags, splice},
};

use super::IoError;

/// Bytes that may be done with before they are given back.
const SLACK: u64 = 64 << 10;
const PAGE: u64 = 4 << 10;

#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    end: u64,
    freed: u64,
}

impl Spool {
    /// Opens the file at `path`, which may hold what a predecessor took.
    pub(super) fn open(path: &Path) -> Result<Self, IoError> {
        let failed = |e| IoError::stream("spool", path, e);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(failed)?;
        let end = file.metadata().map_err(failed)?.len();
        Ok(Self { file, end, freed: 0 })
    }

    /// Position behind the last byte taken.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Takes what is in `pipe`, as much as fits `buffer`, and shows it there. 0: nothing is in it
    /// and nobody can write to it.
    pub(super) fn take(&mut self, pipe: impl AsFd, buffer: &mut [u8]) -> Result<usize, Errno> {
        let mut offset = self.end;
        let flags = SpliceFlags::NONBLOCK;
        match splice(&pipe, None, &self.file, Some(&mut offset), buffer.len(), flags) {
            Ok(n) => {
                self.file.read_exact_at(&mut buffer[..n], self.end).map_err(|_| Errno::IO)?;
                self.end += n as u64;
                Ok(n)
            }
            Err(e @ (Errno::AGAIN | Errno::INTR)) => Err(e),
            Err(_) => self.take_unsafely(pipe, buffer),
        }
    }

    /// For a file system that has no room: output must flow all the same, and is at stake until
    /// it is in the log.
    fn take_unsafely(&mut self, pipe: impl AsFd, buffer: &mut [u8]) -> Result<usize, Errno> {
        let n = read(pipe, &mut *buffer)?;
        self.end += n as u64;
        // Positions stay true; what is missing there reads as zeros.
        let _ = self.file.set_len(self.end);
        Ok(n)
    }

    /// Shows the next bytes from `position` on, as a predecessor took them; 0: there are no more.
    pub(super) fn again(&self, position: u64, buffer: &mut [u8]) -> usize {
        let left = usize::try_from(self.end.saturating_sub(position)).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        match self.file.read_exact_at(&mut buffer[..wanted], position) {
            Ok(()) => wanted,
            Err(_) => 0,
        }
    }

    /// Gives back the room of all before `done`, once that is worth a call.
    pub(super) fn free(&mut self, done: u64) {
        if done >= self.freed + SLACK {
            self.free_now(done);
        }
    }

    /// Gives back the room of all whole pages before `done`.
    pub(super) fn free_now(&mut self, done: u64) {
        let until = done / PAGE * PAGE;
        if until > self.freed {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // A file system that cannot do it keeps the bytes until the container goes.
            let _ = fallocate(&self.file, flags, self.freed, until - self.freed);
            self.freed = until;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::fs::MetadataExt};

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    #[test]
    fn bytes_taken_are_found_again_and_room_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool");
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut buffer = vec![0; 64 << 10];
        let mut spool = Spool::open(&path).unwrap();
        assert_eq!(spool.take(&reader, &mut buffer), Err(Errno::AGAIN));
        for n in 0..64_u8 {
            writer.write_all(&[n; 32 << 10]).unwrap();
            assert_eq!(spool.take(&reader, &mut buffer), Ok(32 << 10));
            assert!(buffer[..32 << 10].iter().all(|b| *b == n));
            spool.free(spool.end().saturating_sub(100));
        }
        let mut again = Spool::open(&path).unwrap();
        assert_eq!(again.end(), 2 << 20);
        assert_eq!(again.again(again.end() - 100, &mut buffer), 100);
        assert!(buffer[..100].iter().all(|b| *b == 63));
        assert_eq!(again.again(again.end(), &mut buffer), 0);
        let held = std::fs::metadata(&path).unwrap().blocks() * 512;
        assert!(held <= 160 << 10, "{held} bytes are held");
        again.free_now(again.end());
        assert_eq!(std::fs::metadata(&path).unwrap().blocks(), 0);
        drop(writer);
        // A child that another test forks holds the other end until its exec.
        poll(&mut [PollFd::new(&reader, PollFlags::IN)], None).unwrap();
        assert_eq!(again.take(&reader, &mut buffer), Ok(0));
    }
}
