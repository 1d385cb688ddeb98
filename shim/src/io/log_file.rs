// SPDX-License-Identifier: Apache-2.0
//! A log file in the CRI format, `TIME STREAM TAG TEXT`, written in whole records.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    IoError,
    cut::{LONGEST, Record, Tag},
    error::complain,
    streams::Source,
    timestamp,
};

/// Time, stream and tag of a record, each with the space behind it.
const HEADER: usize = timestamp::LENGTH + " stdout F ".len();
/// Bytes of records that are gathered for one write.
const BATCH: usize = 128 << 10;
const _: () = assert!(BATCH > HEADER + LONGEST + 1);

/// An open log file. Both streams of a container write to the same one.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    lost: u64,
    failing: bool,
}

/// Records of one stream that are about to be written. The time is that of the read: one a batch.
pub(super) struct Batch<'a> {
    header: [u8; HEADER],
    bytes: &'a mut Vec<u8>,
}

impl LogFile {
    pub(super) fn open(path: &Path) -> Result<Self, IoError> {
        Ok(Self { path: path.to_owned(), file: open(path)?, lost: 0, failing: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the path anew. What is written from here on goes to the new file; with an error the
    /// old one stays in use.
    pub(super) fn reopen(&mut self) -> Result<(), IoError> {
        self.file = open(&self.path)?;
        Ok(())
    }

    /// Which file it is, and its length.
    pub(super) fn place(&self) -> Option<(u64, u64)> {
        let about = self.file.metadata().ok()?;
        Some((about.ino(), about.len()))
    }

    /// Cuts off everything behind `length`.
    pub(super) fn cut(&self, length: u64) {
        // If this fails lines are doubled, which is less bad than lost.
        let _ = self.file.set_len(length);
    }

    /// Adds a record to `batch`, and writes the batch first if it is full.
    pub(super) fn add(&mut self, batch: &mut Batch<'_>, record: Record<'_>) {
        let length = HEADER + record.kept.len() + record.fresh.len() + 1;
        if batch.bytes.len() + length > BATCH {
            self.write(batch);
        }
        batch.add(record);
    }

    /// Writes the batch. A file that cannot be written (a full disk) must not stop the container:
    /// what does not fit is lost and counted, and the file keeps whole records only.
    pub(super) fn write(&mut self, batch: &mut Batch<'_>) {
        match write_all(&mut self.file, batch.bytes) {
            Ok(()) if batch.bytes.is_empty() => {}
            Ok(()) => self.recover(),
            Err((rest, error)) => self.lose(batch.bytes, rest, &error),
        }
        batch.bytes.clear();
    }

    /// Gives up the last `rest` bytes of `bytes`, and cuts the record that they tear off the file.
    fn lose(&mut self, bytes: &[u8], rest: usize, error: &io::Error) {
        let written = &bytes[..bytes.len() - rest];
        let torn = written.len() - memchr::memrchr(b'\n', written).map_or(0, |n| n + 1);
        if torn > 0
            && let Ok(length) = self.file.metadata().map(|m| m.len())
        {
            // If even this fails, readers of the format skip a line that they cannot read.
            let _ = self.file.set_len(length.saturating_sub(torn as u64));
        }
        if !self.failing {
            let path = self.path.display();
            complain(format_args!("log file {path}: output is being lost: {error}"));
        }
        self.failing = true;
        self.lost += (rest + torn) as u64;
    }

    /// Ends a time of loss, if there was one.
    fn recover(&mut self) {
        if std::mem::take(&mut self.failing) {
            let (path, lost) = (self.path.display(), self.lost);
            complain(format_args!("log file {path}: writes again; {lost} bytes were lost so far"));
        }
    }
}

/// Writes all of `bytes`, or tells how many of them are left and why.
fn write_all(file: &mut File, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(written @ 1..) => rest = &rest[written..],
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) => return Err((rest.len(), io::ErrorKind::WriteZero.into())),
            Err(e) => return Err((rest.len(), e)),
        }
    }
    Ok(())
}

fn open(path: &Path) -> Result<File, IoError> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path).map_err(|source| match path
        .parent()
    {
        Some(directory) if source.kind() == io::ErrorKind::NotFound && !directory.exists() => {
            IoError::NoLogDirectory { directory: directory.to_owned() }
        }
        _ => IoError::Log { path: path.to_owned(), source },
    })
}

impl<'a> Batch<'a> {
    /// A batch of `source`'s records, in the memory of `bytes`.
    pub(super) fn new(source: Source, time: SystemTime, bytes: &'a mut Vec<u8>) -> Self {
        let mut header = [b' '; HEADER];
        header[..timestamp::LENGTH].copy_from_slice(&timestamp::format(time));
        header[timestamp::LENGTH + 1..HEADER - 3].copy_from_slice(source.name().as_bytes());
        bytes.clear();
        Self { header, bytes }
    }

    fn add(&mut self, record: Record<'_>) {
        self.header[HEADER - 2] = match record.tag {
            Tag::Full => b'F',
            Tag::Partial => b'P',
        };
        self.bytes.extend_from_slice(&self.header);
        self.bytes.extend_from_slice(record.kept);
        self.bytes.extend_from_slice(record.fresh);
        self.bytes.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::UNIX_EPOCH};

    use super::*;

    fn write(log: &mut LogFile, lines: &[&[u8]]) {
        let mut bytes = Vec::new();
        let mut batch = Batch::new(Source::Stderr, UNIX_EPOCH, &mut bytes);
        for line in lines {
            log.add(&mut batch, Record { kept: b"", fresh: line, tag: Tag::Full });
        }
        log.write(&mut batch);
    }

    #[test]
    fn a_record_is_written_in_the_cri_format() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        write(&mut LogFile::open(&path).unwrap(), &[b"hello", b""]);
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "1970-01-01T00:00:00.000000000Z stderr F hello\n\
             1970-01-01T00:00:00.000000000Z stderr F \n"
        );
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = LogFile::open(Path::new("/no/such/0.log")).unwrap_err().to_string();
        assert_eq!(error, "log directory /no/such does not exist");
    }

    #[test]
    fn after_a_reopen_the_old_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("0.log"), dir.path().join("0.log.1"));
        let mut log = LogFile::open(&path).unwrap();
        write(&mut log, &[b"one"]);
        fs::rename(&path, &old).unwrap();
        log.reopen().unwrap();
        assert!(path.exists());
        write(&mut log, &[b"two"]);
        assert!(fs::read_to_string(&old).unwrap().ends_with(" one\n"));
        assert!(fs::read_to_string(&path).unwrap().ends_with(" two\n"));
    }

    #[test]
    fn a_full_disk_loses_whole_records_and_recovers() {
        // A mount needs root; CI has it.
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().to_str().unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=64k", "crisp-test", disk];
        if !std::process::Command::new("mount").args(mount).status().unwrap().success() {
            eprintln!("not run: a tmpfs cannot be mounted here");
            return;
        }
        let path = dir.path().join("0.log");
        let mut log = LogFile::open(&path).unwrap();
        let line = vec![b'x'; 3000];
        write(&mut log, &vec![line.as_slice(); 30]);
        let lost = log.lost;
        let text = fs::read(&path).unwrap();
        fs::write(&path, "").unwrap();
        write(&mut log, &[b"again"]);
        let after = fs::read_to_string(&path).unwrap();
        assert_eq!(log.lost, lost);
        drop(log);
        assert!(std::process::Command::new("umount").arg(disk).status().unwrap().success());
        assert!(!text.is_empty() && text.split_inclusive(|b| *b == b'\n').all(|r| r.len() == 3041));
        assert_eq!(text.len() as u64 + lost, 30 * 3041);
        assert!(after.ends_with(" again\n"), "{after:?}");
    }
}
