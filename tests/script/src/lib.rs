// SPDX-License-Identifier: Apache-2.0
//! Shell scripts that tests write and run at once, in the place of a runtime, a plugin or a shim.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes a shell script as a program.
///
/// Another process writes it: a descriptor of ours, open for writing, could be in a child that
/// another test is just forking, and the program would be "busy".
///
/// # Errors
/// If `install` is not there or fails; it says why on standard error.
pub fn program(path: &Path, text: &str) -> io::Result<()> {
    let mut install = Command::new("install");
    let install = install.args(["-m755", "/dev/stdin"]).arg(path).stdin(Stdio::piped());
    let mut install = install.spawn()?;
    let stdin = install.stdin.take();
    let text = format!("#!/bin/sh\n{text}\n");
    let written = stdin.map_or(Ok(()), |mut stdin| stdin.write_all(text.as_bytes()));
    let status = install.wait()?;
    if !status.success() {
        return Err(io::Error::other(format!("cannot write {}: {status}", path.display())));
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_can_be_run_at_once_and_one_that_has_no_place_is_an_error() {
        let path = std::env::temp_dir().join(format!("crisp-script-{}", std::process::id()));
        program(&path, "echo \"$1\"").unwrap();
        let output = Command::new(&path).arg("said").output();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(output.unwrap().stdout, b"said\n");
        let error = program(Path::new("/no/such/place"), "").unwrap_err().to_string();
        assert!(error.contains("/no/such/place"), "{error}");
    }
}
