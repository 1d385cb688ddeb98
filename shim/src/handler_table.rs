// SPDX-License-Identifier: Apache-2.0
//! The options of a containerd handler. containerd knows the options of its own shim only; to any
//! other it sends the handler's `options` table as it stands in its configuration, in TOML, inside
//! a message of its own. The keys are those of its shim for runc. Pure, but for a file that the
//! table names.
//!
//! ```toml
//! BinaryName = "/usr/sbin/crun"
//! Root = "/run/crun"
//! SystemdCgroup = true
//! ```

use std::{fs, io};

use containerd_shim_protos::shim::oci::Options as RuncOptions;
use protobuf::CodedInputStream;

/// Wire tags of `runtimeoptions.v1.Options`: path of a configuration file, and its text.
const CONFIG_PATH: u32 = 2 << 3 | 2;
const CONFIG_BODY: u32 = 3 << 3 | 2;

/// Values by which an option asks for nothing.
const NOTHING: [&str; 4] = ["''", "\"\"", "0", "false"];

/// A table that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    #[error("the handler's options cannot be read")]
    Message(#[from] protobuf::Error),
    #[error("the handler's options are not text")]
    Text(#[from] std::string::FromUtf8Error),
    #[error("cannot read the handler's options in {path}")]
    File { path: String, source: io::Error },
    #[error("line {0:?} of the handler's options is no `key = value`")]
    Line(String),
    #[error(
        "{0:?} is no option of this shim: known are BinaryName, Root, SystemdCgroup and ShimCgroup"
    )]
    Key(String),
    #[error("{key} of the handler's options cannot be {value}")]
    Value { key: String, value: String },
}

/// Reads an encoded `runtimeoptions.v1.Options`; `None` when it says nothing.
pub(crate) fn read(message: &[u8]) -> Result<Option<RuncOptions>, TableError> {
    let (mut path, mut body) = (String::new(), Vec::new());
    let mut input = CodedInputStream::from_bytes(message);
    while let Some(tag) = input.read_raw_tag_or_eof()? {
        match tag {
            CONFIG_PATH => path = input.read_string()?,
            CONFIG_BODY => body = input.read_bytes()?,
            other => protobuf::rt::skip_field_for_tag(other, &mut input)?,
        }
    }
    let text = match (body.is_empty(), path.as_str()) {
        (false, _) => String::from_utf8(body)?,
        (true, "") => return Ok(None),
        (true, file) => fs::read_to_string(file)
            .map_err(|source| TableError::File { path: file.to_owned(), source })?,
    };
    parse(&text).map(Some)
}

fn parse(text: &str) -> Result<RuncOptions, TableError> {
    let mut options = RuncOptions::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').ok_or_else(|| TableError::Line(line.to_owned()))?;
        let (key, value) = (key.trim(), value.trim());
        let wrong = || TableError::Value { key: key.to_owned(), value: value.to_owned() };
        match key {
            "BinaryName" => options.binary_name = string(value).ok_or_else(wrong)?,
            "Root" => options.root = string(value).ok_or_else(wrong)?,
            "ShimCgroup" => options.shim_cgroup = string(value).ok_or_else(wrong)?,
            "SystemdCgroup" => options.systemd_cgroup = value.parse().map_err(|_| wrong())?,
            // containerd fills the table of its default handler with all that its own shim knows.
            _ if NOTHING.contains(&value) => {}
            _ => return Err(TableError::Key(key.to_owned())),
        }
    }
    Ok(options)
}

/// A string on one line, of either kind. Paths and names have no escapes but these two.
fn string(value: &str) -> Option<String> {
    let inner = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    if let Some(literal) = inner('\'') {
        return (!literal.contains('\'')).then(|| literal.to_owned());
    }
    let basic = inner('"')?;
    let plain = basic.replace(r"\\", "").replace(r#"\""#, "");
    let escapes_known = !plain.contains(['\\', '"']);
    escapes_known.then(|| basic.replace(r#"\""#, "\"").replace(r"\\", "\\"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message with a path and a body, as a Go program encodes it.
    fn message(path: &str, body: &str) -> Vec<u8> {
        let field = |tag: u8, text: &str| {
            [&[tag, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
        };
        [field(0x0a, "a type"), field(0x12, path), field(0x1a, body)].concat()
    }

    #[test]
    fn the_table_of_a_handler_is_followed() {
        let body = "BinaryName = '/usr/sbin/crun'\n# of ours\nRoot = \"/run/a b\"\n\
                    SystemdCgroup = true\nCriuPath = ''\nIoUid = 0\nNoPivotRoot = false\n";
        let options = read(&message("", body)).unwrap().unwrap();
        assert_eq!(options.binary_name, "/usr/sbin/crun");
        assert_eq!(options.root, "/run/a b");
        assert!(options.systemd_cgroup);
        assert_eq!(read(&message("", "")).unwrap(), None);
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "ShimCgroup = \"/x\"").unwrap();
        let options = read(&message(file.path().to_str().unwrap(), "")).unwrap().unwrap();
        assert_eq!(options.shim_cgroup, "/x");
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        for (body, cause) in [
            ("BinaryNme = 'x'", "\"BinaryNme\" is no option"),
            ("SystemdCgroup = 'yes'", "SystemdCgroup of the handler's options cannot be 'yes'"),
            ("Root = /run", "Root of the handler's options cannot be /run"),
            ("[table]", "no `key = value`"),
        ] {
            let error = read(&message("", body)).unwrap_err().to_string();
            assert!(error.contains(cause), "{error}");
        }
        assert!(read(b"\x1a\x7f").is_err());
        assert!(read(&message("/no/such/file", "")).unwrap_err().to_string().contains("/no/such"));
    }
}
