// SPDX-License-Identifier: Apache-2.0
//! Files of the cgroup file systems: how they are read, and how their texts are made sense of.

use std::path::{Path, PathBuf};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::{Errno, read, retry_on_intr},
};

use super::usage::{Psi, PsiShare};

/// From here on a v1 limit means none: the kernel rounds "no limit" down to whole pages.
const NO_LIMIT: u64 = 1 << 62;

/// Reads small files into one buffer, with three system calls each.
#[derive(Debug, Default)]
pub(super) struct Files {
    buffer: Vec<u8>,
    path: PathBuf,
}

impl Files {
    /// The text of a file; `None` when it or its cgroup is not there.
    pub(super) fn read(&mut self, directory: &Path, name: &str) -> Option<&str> {
        self.path.clear();
        self.path.push(directory);
        self.path.push(name);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(CWD, &self.path, flags, Mode::empty()).ok()?;
        if self.buffer.is_empty() {
            self.buffer.resize(16 << 10, 0);
        }
        let mut filled = 0;
        loop {
            if filled == self.buffer.len() {
                self.buffer.resize(2 * filled, 0);
            }
            match retry_on_intr(|| read(&file, &mut self.buffer[filled..])) {
                Ok(0) => break,
                Ok(n) => filled += n,
                // The cgroup was removed between the two calls.
                Err(Errno::NODEV) => return None,
                Err(_) => return None,
            }
        }
        std::str::from_utf8(&self.buffer[..filled]).ok()
    }

    /// The number that is a file's whole text.
    pub(super) fn number(&mut self, directory: &Path, name: &str) -> Option<u64> {
        number(self.read(directory, name)?)
    }

    /// A limit; `Some(None)` for a file that says there is none.
    pub(super) fn limit(&mut self, directory: &Path, name: &str) -> Option<Option<u64>> {
        limit(self.read(directory, name)?)
    }
}

pub(super) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

pub(super) fn limit(text: &str) -> Option<Option<u64>> {
    match text.trim() {
        "max" => Some(None),
        text => text.parse().ok().map(below_no_limit),
    }
}

pub(super) fn below_no_limit(limit: u64) -> Option<u64> {
    Some(limit).filter(|limit| *limit < NO_LIMIT)
}

/// The lines `key value` of a file such as `memory.stat`.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, value.trim().parse().ok()?))
    })
}

/// The value of one key of such a file.
pub(super) fn value(text: &str, key: &str) -> Option<u64> {
    pairs(text).find(|(name, _)| *name == key).map(|(_, value)| value)
}

/// A device number such as `8:16`.
pub(super) fn device(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A file such as `cpu.pressure`. Older kernels have no line `full` for the CPU.
pub(super) fn psi(text: &str) -> Option<Psi> {
    let mut psi = Psi::default();
    let mut seen = false;
    for line in text.lines() {
        let (kind, rest) = line.split_once(' ')?;
        let share = psi_share(rest)?;
        match kind {
            "some" => (psi.some, seen) = (share, true),
            "full" => psi.full = share,
            _ => {}
        }
    }
    seen.then_some(psi)
}

fn psi_share(text: &str) -> Option<PsiShare> {
    let mut share = PsiShare::default();
    for word in text.split_whitespace() {
        let (key, value) = word.split_once('=')?;
        match key {
            "avg10" => share.avg10 = value.parse().ok()?,
            "avg60" => share.avg60 = value.parse().ok()?,
            "avg300" => share.avg300 = value.parse().ok()?,
            // Microseconds.
            "total" => share.total_ns = value.parse::<u64>().ok()?.saturating_mul(1000),
            _ => {}
        }
    }
    Some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_read_with_and_without_its_second_line() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=12345\n\
                    full avg10=0.50 avg60=0.00 avg300=0.00 total=45\n";
        let found = psi(text).unwrap();
        assert_eq!((found.some.avg10, found.some.total_ns), (1.5, 12_345_000));
        assert_eq!(found.full.total_ns, 45_000);
        let old = psi("some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n").unwrap();
        assert_eq!((old.some.total_ns, old.full), (7000, PsiShare::default()));
        assert_eq!(psi(""), None);
    }

    #[test]
    fn no_limit_is_recognised_in_both_spellings() {
        assert_eq!(limit("max\n"), Some(None));
        assert_eq!(limit("9223372036854771712\n"), Some(None));
        assert_eq!(limit("67108864\n"), Some(Some(67_108_864)));
        assert_eq!(limit("lots\n"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "[ -~\n]{0,200}") {
            let _ = (psi(&text), limit(&text), value(&text, "x"), device(&text));
        }
    }
}
