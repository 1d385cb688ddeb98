// SPDX-License-Identifier: Apache-2.0
//! Named pipes and their ends.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{FileTypeExt, OpenOptionsExt},
    },
    path::Path,
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, mknodat},
    io::Errno,
    pipe::fcntl_setpipe_size,
};

use super::{IoError, ReaderGone};

const NULL: &str = "/dev/null";
/// Bytes a pipe shall hold, the most first.
const CAPACITIES: [usize; 4] = [1 << 20, 512 << 10, 256 << 10, 128 << 10];

/// The null device, for reading and writing.
pub(super) fn null() -> Result<OwnedFd, IoError> {
    let file = OpenOptions::new().read(true).write(true).open(NULL);
    file.map(Into::into).map_err(|e| IoError::stream("device", NULL, e))
}

/// Makes the pipe anew; one left by a container of the same id goes.
pub(super) fn make(path: &Path) -> Result<(), IoError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(IoError::stream("pipe", path, e));
        }
        _ => {}
    }
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
        .map_err(|e| IoError::stream("pipe", path, e.into()))
}

/// Makes the pipe unless it is there.
pub(super) fn keep(path: &Path) -> Result<(), IoError> {
    match mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) if is_pipe(path)? => Ok(()),
        Err(e) => Err(IoError::stream("pipe", path, e.into())),
    }
}

/// Has the pipe hold as much as an ordinary user may have, so that its writer waits the later when
/// nobody reads. A smaller one serves too.
pub(super) fn widen(pipe: &OwnedFd) {
    let _ = CAPACITIES.into_iter().find(|size| fcntl_setpipe_size(pipe, *size).is_ok());
}

/// The end to read from, anew: a fresh one does not know of writers that have come and gone, and
/// so waits for the next.
pub(super) fn again(pipe: &OwnedFd) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// The end to read from without ever waiting. Opens whether or not there is a writer.
pub(super) fn reader(path: &Path) -> Result<OwnedFd, IoError> {
    open(path, OpenOptions::new().read(true))
}

/// The end to write to without ever waiting. A reader must be there.
pub(super) fn writer(path: &Path) -> Result<OwnedFd, IoError> {
    open(path, OpenOptions::new().write(true))
}

/// Both ends in one, so that neither opening nor writing depends on anybody else.
pub(super) fn both(path: &Path) -> Result<OwnedFd, IoError> {
    open(path, OpenOptions::new().read(true).write(true))
}

fn open(path: &Path, options: &mut OpenOptions) -> Result<OwnedFd, IoError> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    options
        .custom_flags(flags)
        .open(path)
        .map(Into::into)
        .map_err(|e| IoError::stream("pipe", path, e))
}

/// Makes `fd` wait, as a container expects of its streams.
pub(super) fn waiting(fd: OwnedFd, path: &Path) -> Result<OwnedFd, IoError> {
    let set =
        || -> rustix::io::Result<()> { fcntl_setfl(&fd, fcntl_getfl(&fd)? - OFlags::NONBLOCK) };
    set().map_err(|e| IoError::stream("pipe", path, e.into()))?;
    Ok(fd)
}

/// What a process writes its output to when `path` is served by someone else: a pipe, or a
/// regular file that is appended to. And the hold that keeps what is in the pipe from going with
/// the process, should its reader be away then.
pub(super) fn output(
    path: &Path,
    reader_gone: ReaderGone,
) -> Result<(OwnedFd, Option<OwnedFd>), IoError> {
    if !is_pipe(path)? {
        let file = OpenOptions::new().append(true).open(path);
        let file = file.map_err(|e| IoError::stream("output file", path, e))?;
        return Ok((file.into(), None));
    }
    let hold = reader(path)?;
    match reader_gone {
        // A process that holds the read end too meets neither SIGPIPE nor an error, however
        // often its readers come and go. The reader still sees the end when the process is gone.
        ReaderGone::Blocks => Ok((waiting(both(path)?, path)?, Some(hold))),
        ReaderGone::Breaks => Ok((waiting(writer(path)?, path)?, None)),
    }
}

/// What a process reads its input from when `path` is served by someone else, and the hold that
/// keeps it from ending with the writer of the day.
pub(super) fn input(path: &Path) -> Result<(OwnedFd, Option<OwnedFd>), IoError> {
    if !is_pipe(path)? {
        let file = File::open(path).map_err(|e| IoError::stream("input file", path, e))?;
        return Ok((file.into(), None));
    }
    let end = waiting(reader(path)?, path)?;
    Ok((end, Some(writer(path)?)))
}

fn is_pipe(path: &Path) -> Result<bool, IoError> {
    let about = fs::metadata(path).map_err(|e| IoError::stream("stream", path, e))?;
    Ok(about.file_type().is_fifo())
}
