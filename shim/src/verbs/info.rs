// SPDX-License-Identifier: Apache-2.0
//! `-info`: what this shim is and what its OCI runtime can do, as protobuf `RuntimeInfo` on stdout.
//! The options that choose the runtime may come on stdin.

use std::{
    io::{self, Read, Write},
    process::{Command, Stdio},
};

use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};
use crisp_runtimes::Argv;
use protobuf::{Message, well_known_types::any::Any};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

use super::Failed;
use crate::options;

/// How long the runtime may take.
const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
/// How Go programs name the JSON of a runtime's features.
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

pub(super) fn run() -> Result<(), Failed> {
    let mut text = Vec::new();
    io::stdin().lock().take(1 << 20).read_to_end(&mut text)?;
    let options = Any::parse_from_bytes(&text).ok().filter(|any| !any.type_url.is_empty());
    let mut info = RuntimeInfo::new();
    info.name = "io.containerd.crisp.v1".to_owned();
    info.version = version(env!("CARGO_PKG_VERSION"));
    info.features = features(options.as_ref()).into();
    info.options = options.into();
    io::stdout().write_all(&info.write_to_bytes()?)?;
    Ok(())
}

fn version(text: &str) -> protobuf::MessageField<RuntimeVersion> {
    Some(RuntimeVersion { version: text.to_owned(), ..RuntimeVersion::default() }).into()
}

/// What the runtime says of itself. One that cannot be asked has no features to tell of; its
/// containers will say why.
fn features(options: Option<&Any>) -> Option<Any> {
    let chosen = options::for_container(options, "").ok()?.runtime;
    let driven = chosen.or_else(|| options::default_runtime("").ok())?;
    let value = output(&driven.runtime.features()).ok()??;
    serde_json::from_slice::<serde_json::Value>(&value).ok()?;
    Some(Any { type_url: FEATURES.to_owned(), value, ..Any::default() })
}

/// What a program prints, which must fit a pipe; `None` when it fails or does not end in time.
fn output(argv: &Argv) -> io::Result<Option<Vec<u8>>> {
    let mut command = Command::new(argv.program());
    command.args(argv.args()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let process = Pid::from_child(&child);
    let ended = pidfd_open(process, PidfdFlags::empty())?;
    if poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&PATIENCE))? == 0 {
        child.kill()?;
    }
    let told = child.wait_with_output()?;
    Ok(told.status.success().then_some(told.stdout))
}
