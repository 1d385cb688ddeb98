// SPDX-License-Identifier: Apache-2.0
//! Programs that tests write and run at once.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes a shell script as a program.
///
/// Another process writes it: a descriptor of ours, open for writing, could be in a child that
/// another test is just forking, and the program would be "busy".
pub(crate) fn program(path: &Path, text: &str) {
    let mut install = Command::new("install");
    let install = install.args(["-m755", "/dev/stdin"]).arg(path).stdin(Stdio::piped());
    let mut install = install.spawn().unwrap();
    let mut text_in = install.stdin.take().unwrap();
    text_in.write_all(format!("#!/bin/sh\n{text}\n").as_bytes()).unwrap();
    drop(text_in);
    assert!(install.wait().unwrap().success());
}
