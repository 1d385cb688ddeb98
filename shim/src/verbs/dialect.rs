// SPDX-License-Identifier: Apache-2.0
//! How the caller of `start` talks: what it wrote to stdin, and what answer it can read.
//!
//! - Nothing, or an `Any` of runtime options: containerd up to 2.2, CRI-O. All of them read a bare
//!   address, which means protocol version 2 (service `containerd.task.v2.Task`). Some refuse a
//!   higher version, and nothing they send tells which, so the bare address is the answer.
//! - `BootstrapParams`: containerd from 2.3, crisp. They get the JSON answer, version 3.
//!
//! `Any` and `BootstrapParams` have the same types at the same field numbers, so each parses as the
//! other; what counts as params is what repeats the id and namespace of the command line.

use std::{io, path::PathBuf};

use containerd_shim_protos::bootstrap_api::BootstrapParams;
use protobuf::{Message, well_known_types::any::Any};

use crate::flags::Flags;

/// What came on stdin.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Asked {
    /// Nothing, or nothing that can be read.
    Bare,
    /// Runtime options of an older caller.
    Options(Any),
    /// The full parameters of a newer caller.
    Params(Params),
}

/// The part of the parameters that matters to `start`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Params {
    pub(crate) ttrpc_address: String,
    pub(crate) socket_dir: Option<PathBuf>,
    pub(crate) options: Vec<Any>,
}

impl Asked {
    /// Tells the dialect of `stdin`.
    pub(crate) fn of(stdin: &[u8], flags: &Flags) -> Self {
        if stdin.is_empty() {
            return Self::Bare;
        }
        if let Ok(params) = BootstrapParams::parse_from_bytes(stdin)
            && params.instance_id == flags.id
            && params.namespace == flags.namespace
        {
            let dir = params.socket_dir.filter(|d| !d.is_empty());
            let values = params.extensions.into_iter().filter_map(|e| e.value.into_option());
            return Self::Params(Params {
                ttrpc_address: params.containerd_ttrpc_address,
                socket_dir: dir.map(PathBuf::from),
                options: values.collect(),
            });
        }
        match Any::parse_from_bytes(stdin) {
            Ok(any) if !any.type_url.is_empty() => Self::Options(any),
            _ => Self::Bare,
        }
    }

    /// The options that came along, whichever way.
    pub(crate) fn options(&self) -> &[Any] {
        match self {
            Self::Bare => &[],
            Self::Options(any) => std::slice::from_ref(any),
            Self::Params(params) => &params.options,
        }
    }

    /// The answer to print for a server at `address`.
    pub(crate) fn answer(&self, address: &str) -> io::Result<String> {
        match self {
            Self::Bare | Self::Options(_) => Ok(address.to_owned()),
            Self::Params(_) => serde_json::to_string(&serde_json::json!({
                "version": 3, "address": address, "protocol": "ttrpc",
            }))
            .map_err(io::Error::other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> Flags {
        Flags { id: "abc".into(), namespace: "k8s.io".into(), ..Flags::default() }
    }

    #[test]
    fn params_are_known_by_repeating_the_flags() {
        let mut params = BootstrapParams::new();
        params.instance_id = "abc".into();
        params.namespace = "k8s.io".into();
        params.socket_dir = Some("/run/x".into());
        let asked = Asked::of(&params.write_to_bytes().unwrap(), &flags());
        let Asked::Params(got) = &asked else { panic!("{asked:?}") };
        assert_eq!(got.socket_dir, Some("/run/x".into()));
        let answer = asked.answer("unix:///s").unwrap();
        let json: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(json["version"], 3);
        assert_eq!(json["address"], "unix:///s");
    }

    #[test]
    fn options_of_an_older_caller_are_not_taken_for_params() {
        let any = Any { type_url: "containerd.runc.v1.Options".into(), ..Any::default() };
        let asked = Asked::of(&any.write_to_bytes().unwrap(), &flags());
        assert_eq!(asked.options(), [any]);
        assert_eq!(asked.answer("unix:///s").unwrap(), "unix:///s");
        assert_eq!(Asked::of(b"", &flags()), Asked::Bare);
        assert_eq!(Asked::of(b"\xff\xff", &flags()), Asked::Bare);
    }
}
