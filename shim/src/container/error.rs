// SPDX-License-Identifier: Apache-2.0

use std::{io, path::PathBuf};

use crisp_words::{InvalidId, InvalidStdio};

use crate::{
    invoke::InvokeError, io::IoError, mounts::MountError, options::OptionsError, process::Refusal,
};

/// Why a verb on a container or exec failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContainerError {
    #[error("no container {id} in this shim")]
    NoContainer { id: String },
    #[error("container {id} has no exec {exec_id}")]
    NoExec { id: String, exec_id: String },
    #[error("container {id} exists already")]
    Exists { id: String },
    #[error("container {id} has an exec {exec_id} already")]
    ExecExists { id: String, exec_id: String },
    #[error("{thing} {refusal}")]
    Refused { thing: String, refusal: Refusal },
    #[error("{0} is not supported by this shim")]
    Unsupported(&'static str),
    #[error("{0} is not an absolute path of a bundle directory")]
    Bundle(String),
    #[error(transparent)]
    Id(#[from] InvalidId),
    #[error(transparent)]
    Stdio(#[from] InvalidStdio),
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error("stdio of {thing}")]
    Io { thing: String, source: IoError },
    #[error("cannot {verb} {thing}")]
    Runtime { verb: &'static str, thing: String, source: InvokeError },
    #[error("{what} {}", .path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot take hold of the process of {thing}")]
    Process { thing: String, source: io::Error },
    #[error("signal {signal} cannot be sent to {thing}")]
    Signal { signal: u32, thing: String, source: io::Error },
    #[error("{thing} did not end although it was killed")]
    Unkillable { thing: String },
    #[error("the counters of {thing} cannot be read")]
    Metrics { thing: String, source: io::Error },
}
