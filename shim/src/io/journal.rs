// SPDX-License-Identifier: Apache-2.0
//! How far the streams of a container have come into its log, so that whoever takes over from a
//! process that was killed repeats no line and tears none.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use super::{IoError, log_file::LogFile, streams::Source};

/// The state of everything after a write to the log: four numbers, written at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Place {
    /// Positions in the two spools up to which all is in the log.
    stdout: u64,
    stderr: u64,
    /// The log file, and its length.
    inode: u64,
    length: u64,
}

const LENGTH: usize = 32;

#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    place: Place,
}

impl Journal {
    /// Opens the journal at `path`, a predecessor's if there is one.
    pub(super) fn open(path: &Path) -> Result<Self, IoError> {
        let failed = |e| IoError::stream("journal", path, e);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(failed)?;
        let mut bytes = [0; LENGTH];
        let place = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Place::decode(&bytes),
            // A new one. Nothing has been taken before the first place is written.
            Err(_) => Place::default(),
        };
        let journal = Self { file, place };
        journal.file.write_all_at(&journal.place.encode(), 0).map_err(failed)?;
        Ok(journal)
    }

    /// Takes back what a predecessor wrote to `log` and could not note any more: it comes again
    /// from the spool. A log that was rotated meanwhile stays as it is.
    pub(super) fn resume(&mut self, log: &LogFile) {
        if let Some((inode, length)) = log.place()
            && inode == self.place.inode
            && length > self.place.length
        {
            log.cut(self.place.length);
        }
        self.reopened(log);
    }

    /// Notes that another file is the log from now on.
    pub(super) fn reopened(&mut self, log: &LogFile) {
        self.note(self.place, log);
    }

    /// Position in the spool of `source` up to which all is in the log.
    pub(super) fn done(&self, source: Source) -> u64 {
        match source {
            Source::Stdout => self.place.stdout,
            Source::Stderr => self.place.stderr,
        }
    }

    /// Notes that all of `source` before `done` has been written to `log`.
    pub(super) fn commit(&mut self, source: Source, done: u64, log: &LogFile) {
        let place = match source {
            Source::Stdout => Place { stdout: done, ..self.place },
            Source::Stderr => Place { stderr: done, ..self.place },
        };
        self.note(place, log);
    }

    fn note(&mut self, place: Place, log: &LogFile) {
        let (inode, length) = log.place().unwrap_or_default();
        self.place = Place { inode, length, ..place };
        // One page of a file that is there already: it only fails with the disk itself.
        let _ = self.file.write_all_at(&self.place.encode(), 0);
    }
}

impl Place {
    fn encode(self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let numbers = [self.stdout, self.stderr, self.inode, self.length];
        for (into, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            into.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8; LENGTH]) -> Self {
        let number = |n: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[n * 8..(n + 1) * 8]);
            u64::from_le_bytes(word)
        };
        Self { stdout: number(0), stderr: number(1), inode: number(2), length: number(3) }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_was_written_and_not_noted_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let (path, log_path) = (dir.path().join("journal"), dir.path().join("0.log"));
        let log = LogFile::open(&log_path).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        journal.resume(&log);
        fs::write(&log_path, "noted\n").unwrap();
        journal.commit(Source::Stderr, 77, &log);
        fs::write(&log_path, "noted\nnot noted, to").unwrap();
        drop(journal);
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!((journal.done(Source::Stdout), journal.done(Source::Stderr)), (0, 77));
        journal.resume(&LogFile::open(&log_path).unwrap());
        assert_eq!(fs::read_to_string(&log_path).unwrap(), "noted\n");
        // Another file of that name is nobody's to cut.
        fs::rename(&log_path, dir.path().join("0.log.1")).unwrap();
        fs::write(&log_path, "rotated meanwhile\n").unwrap();
        journal.resume(&LogFile::open(&log_path).unwrap());
        assert_eq!(fs::read_to_string(&log_path).unwrap(), "rotated meanwhile\n");
    }
}
