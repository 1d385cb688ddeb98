// SPDX-License-Identifier: Apache-2.0
//! A strict reader of the CRI log format: `<RFC3339Nano> <stream> <tags> <content>\n`.

use anyhow::{Context as _, Result, ensure};

/// One record of a container log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The timestamp as written.
    pub time: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// The record ends a line (tag `F`); otherwise more of it follows (tag `P`).
    pub full: bool,
    /// The bytes after the tags, without the newline.
    pub content: Vec<u8>,
}

/// Reads a whole log file.
///
/// # Errors
/// Names the first record that breaks the format.
pub fn parse(bytes: &[u8]) -> Result<Vec<Record>> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    ensure!(bytes.ends_with(b"\n"), "the log does not end with a newline");
    bytes[..bytes.len() - 1].split(|b| *b == b'\n').map(record).collect()
}

fn record(line: &[u8]) -> Result<Record> {
    let shown =
        || format!("log record {:?}", String::from_utf8_lossy(&line[..line.len().min(120)]));
    let mut fields = line.splitn(4, |b| *b == b' ');
    let mut field = |name| {
        let bytes = fields.next().with_context(|| format!("{}: no {name}", shown()))?;
        Ok::<_, anyhow::Error>(String::from_utf8_lossy(bytes).into_owned())
    };
    let time = field("timestamp")?;
    let stream = field("stream")?;
    let tags = field("tags")?;
    let content = fields.next().with_context(|| format!("{}: no content field", shown()))?.to_vec();
    ensure!(is_rfc3339(&time), "{}: {time:?} is not RFC 3339", shown());
    ensure!(stream == "stdout" || stream == "stderr", "{}: stream {stream:?}", shown());
    let first = tags.split(':').next().unwrap_or_default();
    ensure!(first == "F" || first == "P", "{}: tag {first:?}", shown());
    Ok(Record { time, stream, full: first == "F", content })
}

fn is_rfc3339(text: &str) -> bool {
    let shape = |part: &str, pattern: &str| {
        part.len() == pattern.len()
            && part.bytes().zip(pattern.bytes()).all(|(b, p)| match p {
                b'0' => b.is_ascii_digit(),
                p => b == p,
            })
    };
    let Some((head, rest)) = text.split_at_checked(19) else { return false };
    if !shape(head, "0000-00-00T00:00:00") {
        return false;
    }
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    zone == "Z" || shape(zone, "+00:00") || shape(zone, "-00:00")
}

/// The lines of one stream: pieces are joined, a last piece without an end counts as a line.
pub fn lines(records: &[Record], stream: &str) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let mut open: Option<Vec<u8>> = None;
    for record in records.iter().filter(|r| r.stream == stream) {
        open.get_or_insert_default().extend_from_slice(&record.content);
        if record.full {
            lines.extend(open.take());
        }
    }
    lines.extend(open);
    lines
}

/// Like [`lines`], as text.
pub fn text(records: &[Record], stream: &str) -> Vec<String> {
    lines(records, stream).iter().map(|l| String::from_utf8_lossy(l).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_and_empty_lines_stay() {
        let log = b"2026-01-02T03:04:05.678Z stdout P ab\n\
            2026-01-02T03:04:05+01:00 stderr F x\n\
            2026-01-02T03:04:05.123456789-07:30 stdout F cd\n\
            2026-01-02T03:04:05Z stdout F \n";
        let records = parse(log).unwrap();
        assert_eq!(text(&records, "stdout"), ["abcd", ""]);
        assert_eq!(text(&records, "stderr"), ["x"]);
    }

    #[test]
    fn broken_records_are_named() {
        for (log, why) in [
            (&b"2026-01-02T03:04:05Z stdout F x"[..], "newline"),
            (b"2026-01-02 03:04:05Z stdout F x\n", "RFC 3339"),
            (b"2026-01-02T03:04:05Z stdin F x\n", "stream"),
            (b"2026-01-02T03:04:05Z stdout G x\n", "tag"),
            (b"2026-01-02T03:04:05Z stdout F\n", "content"),
        ] {
            let error = format!("{:#}", parse(log).unwrap_err());
            assert!(error.contains(why), "{error} should name {why}");
        }
    }
}
