// SPDX-License-Identifier: Apache-2.0

use std::{fs, os::unix::ffi::OsStrExt, path::Path};

/// What the processes of a container hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessCounts {
    /// Processes.
    pub processes: u64,
    /// Open files.
    pub descriptors: u64,
    /// Those of them that are sockets.
    pub sockets: u64,
    /// Soft limit of open files of the first process; `None` for none.
    pub descriptor_limit: Option<u64>,
}

impl ProcessCounts {
    /// Counts what `pids` hold, the container's first process first. Processes that end meanwhile
    /// hold nothing. Costs some microseconds for each open file.
    #[must_use]
    pub fn of(pids: &[i32]) -> Self {
        let mut counts = Self { processes: pids.len() as u64, ..Self::default() };
        for pid in pids {
            let directory = format!("/proc/{pid}/fd");
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                counts.descriptors += 1;
                counts.sockets += u64::from(is_socket(&entry.path()));
            }
        }
        counts.descriptor_limit = pids
            .first()
            .and_then(|pid| soft_limit(&fs::read_to_string(format!("/proc/{pid}/limits")).ok()?));
        counts
    }
}

fn is_socket(descriptor: &Path) -> bool {
    fs::read_link(descriptor).is_ok_and(|to| to.as_os_str().as_bytes().starts_with(b"socket:"))
}

/// The soft limit in the line `Max open files` of `/proc/PID/limits`.
fn soft_limit(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_the_first_number() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max open files            1024                 524288               files\n";
        assert_eq!(soft_limit(text), Some(1024));
        assert_eq!(soft_limit("Max open files            unlimited  unlimited files\n"), None);
    }

    #[test]
    fn open_sockets_are_counted_among_open_files() {
        let me = i32::try_from(std::process::id()).unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let counts = ProcessCounts::of(&[me]);
        assert_eq!(counts.processes, 1);
        assert!(counts.sockets >= 1 && counts.descriptors > counts.sockets, "{counts:?}");
        drop(socket);
        let gone = ProcessCounts { processes: 1, ..ProcessCounts::default() };
        assert_eq!(ProcessCounts::of(&[i32::MAX]), gone);
    }
}
