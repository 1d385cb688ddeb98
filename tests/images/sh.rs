// SPDX-License-Identifier: Apache-2.0
//! /bin/sh of the node suite's busybox: ash, except that `sh -c env` keeps variables whose names no
//! shell could write. Debian's build of ash drops them; the suite's own image has one that does not.

use std::{env, os::unix::process::CommandExt as _, process::Command};

fn main() {
    let args: Vec<_> = env::args_os().collect();
    let words: Vec<_> = args.iter().skip(1).map(|word| word.to_str()).collect();
    let mut command = match words[..] {
        [Some("-c"), Some("env")] => Command::new("/bin/env"),
        _ => {
            let mut shell = Command::new("/bin/busybox");
            if let Some((name, rest)) = args.split_first() {
                shell.arg0(name).args(rest);
            }
            shell
        }
    };
    let error = command.exec();
    eprintln!("sh: {error}");
    std::process::exit(127);
}
