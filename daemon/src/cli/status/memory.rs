// SPDX-License-Identifier: Apache-2.0
//! What the host tells of a process.

use std::{fs, path::Path};

/// Its share of memory (PSS), bytes; none if it is gone or not ours to look at.
pub(super) fn pss(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Whether `pid` runs a program of the same name as `binary`: pids are used again.
pub(super) fn runs(pid: u32, binary: &Path) -> bool {
    exe(pid).is_some_and(|(exe, _)| Path::new(&exe).file_name() == binary.file_name())
}

/// Whether the file that `pid` runs has been replaced or removed.
pub(super) fn is_replaced(pid: u32) -> bool {
    exe(pid).is_some_and(|(_, deleted)| deleted)
}

/// The program's path, and whether the kernel says that it is gone from there.
fn exe(pid: u32) -> Option<(String, bool)> {
    let link = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let text = link.to_string_lossy();
    Some(match text.strip_suffix(" (deleted)") {
        Some(path) => (path.to_owned(), true),
        None => (text.into_owned(), false),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen_as_it_is() {
        let me = std::process::id();
        assert!(pss(me).unwrap() > 100_000);
        assert!(runs(me, &std::env::current_exe().unwrap()));
        assert!(!runs(me, Path::new("/bin/other")));
        assert!(!is_replaced(me));
        assert_eq!(pss(u32::MAX), None);
    }
}
