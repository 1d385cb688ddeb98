// SPDX-License-Identifier: Apache-2.0
//! Whether a container's log holds exactly the lines that the container wrote, in their order.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

/// A shell script that writes `line 0`, `line 1`, … as fast as it can until it is stopped.
pub const COUNT_FAST: &str = "exec awk 'BEGIN { for (n = 0; ; n++) print \"line \" n }'";

/// Checks that the files, one after the other, hold `line 0`, `line 1`, … without a gap, a
/// repetition or a torn line. Gives the number of lines.
pub fn counts(files: &[PathBuf]) -> Result<u64> {
    holds(files, |number, line| {
        number.push_str("line ");
        number.push_str(&line.to_string());
    })
}

/// Checks that the files, one after the other, hold the lines that `write` writes for 0, 1, ….
pub fn holds(files: &[PathBuf], write: impl Fn(&mut String, u64)) -> Result<u64> {
    let mut next = 0;
    let mut wanted = String::new();
    for file in files {
        for_each_line(file, |line| {
            wanted.clear();
            write(&mut wanted, next);
            let content = content(line).with_context(|| {
                format!("after {next} lines, {} has {}", file.display(), shown(line))
            })?;
            if content != wanted.as_bytes() {
                bail!("{} has {} as line {next}", file.display(), shown(content));
            }
            next += 1;
            Ok(())
        })?;
    }
    Ok(next)
}

fn for_each_line(path: &Path, mut check: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let end = line.pop();
        ensure!(end == Some(b'\n'), "{} ends amid a line: {}", path.display(), shown(&line));
        check(&line)?;
    }
}

/// The content of a record of a whole line on stdout.
fn content(line: &[u8]) -> Result<&[u8]> {
    let space = line.iter().position(|b| *b == b' ').context("no time")?;
    let (time, rest) = line.split_at(space);
    ensure!(time.ends_with(b"Z") || time.contains(&b'+'), "{} is no time", shown(time));
    rest.strip_prefix(b" stdout F ").context("no whole line of stdout")
}

fn shown(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(160)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> Result<u64> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("log");
        std::fs::write(&file, text)?;
        counts(&[file])
    }

    fn record(content: &str) -> String {
        format!("2026-11-24T00:00:00.5Z stdout F {content}\n")
    }

    #[test]
    fn only_a_whole_count_passes() {
        let [a, b, c] = [0, 1, 2].map(|n| record(&format!("line {n}")));
        assert_eq!(count(&format!("{a}{b}{c}")).unwrap(), 3);
        for (log, why) in [
            (format!("{a}{c}"), "as line 1"),
            (format!("{a}{a}"), "as line 1"),
            (format!("{b}{a}"), "as line 0"),
            (format!("{a}{}", b.trim_end()), "amid"),
            (format!("{a}{}", b.replace(" F ", " P ")), "whole line"),
        ] {
            let error = format!("{:#}", count(&log).unwrap_err());
            assert!(error.contains(why), "{error} should say {why}");
        }
    }
}
