// SPDX-License-Identifier: Apache-2.0

use std::path::PathBuf;

/// The command line of a shim, in the spelling of Go's `flag` package: one or two dashes, value
/// after `=` or as the next word, then a verb.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) namespace: String,
    pub(crate) address: String,
    pub(crate) publish_binary: String,
    pub(crate) id: String,
    pub(crate) bundle: Option<PathBuf>,
    pub(crate) socket: Option<PathBuf>,
    pub(crate) debug: bool,
    pub(crate) verb: Verb,
}

/// What the shim is asked to do.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// No verb: be the server. `start` runs this.
    #[default]
    Serve,
    /// Start a server, or find the one of the pod, and print its address.
    Start,
    /// Clean up after a dead server.
    Delete,
    /// Start the server of pipes for another's shim, or find the one of the pod, and print its
    /// address.
    Io,
    /// Internal: be that server. `io` runs this.
    ServeIo,
    /// `-v`.
    Version,
    /// `-info`.
    Info,
    /// Internal: make the namespaces of a sandbox, as a child of the server.
    MakeNamespaces,
    /// Internal: print the program that waits in a sandbox, for sandboxes of other shims.
    PrintInit,
}

/// A command line that is none of a shim.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FlagError {
    #[error("flag provided but not defined: {0}")]
    Unknown(String),
    #[error("flag needs an argument: {0}")]
    NoValue(String),
    #[error("unknown command {0:?}: known are start, delete and io")]
    UnknownVerb(String),
    #[error("shim {0} cannot be empty")]
    Empty(&'static str),
}

impl Flags {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, FlagError> {
        let mut flags = Self::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let Some(name) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
                flags.verb = verb(&arg)?;
                continue;
            };
            let (name, given) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            match name {
                "debug" => flags.debug = given.as_deref() != Some("false"),
                "v" | "version" => flags.verb = Verb::Version,
                "info" => flags.verb = Verb::Info,
                _ => {
                    let taken =
                        ["namespace", "address", "publish-binary", "id", "bundle", "socket"];
                    if !taken.contains(&name) {
                        return Err(FlagError::Unknown(arg));
                    }
                    let value =
                        given.or_else(|| args.next()).ok_or(FlagError::NoValue(arg.clone()))?;
                    flags.set(name, value);
                }
            }
        }
        flags.check()
    }

    fn set(&mut self, name: &str, value: String) {
        match name {
            "namespace" => self.namespace = value,
            "address" => self.address = value,
            "publish-binary" => self.publish_binary = value,
            "id" => self.id = value,
            "bundle" => self.bundle = Some(value.into()),
            _ => self.socket = Some(value.into()),
        }
    }

    fn check(self) -> Result<Self, FlagError> {
        match self.verb {
            Verb::Version | Verb::Info | Verb::MakeNamespaces | Verb::PrintInit => Ok(self),
            _ if self.id.is_empty() => Err(FlagError::Empty("id")),
            _ if self.namespace.is_empty() => Err(FlagError::Empty("namespace")),
            _ => Ok(self),
        }
    }
}

fn verb(word: &str) -> Result<Verb, FlagError> {
    match word {
        "start" => Ok(Verb::Start),
        "delete" => Ok(Verb::Delete),
        "io" => Ok(Verb::Io),
        "serve-io" => Ok(Verb::ServeIo),
        "make-namespaces" => Ok(Verb::MakeNamespaces),
        "print-init" => Ok(Verb::PrintInit),
        _ => Err(FlagError::UnknownVerb(word.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Flags, FlagError> {
        Flags::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_containerd_passes_is_understood() {
        let flags = parse(
            "-namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -id abc \
             -bundle=/b -debug delete",
        )
        .unwrap();
        assert_eq!(flags.namespace, "k8s.io");
        assert_eq!(flags.id, "abc");
        assert_eq!(flags.bundle, Some("/b".into()));
        assert!(flags.debug);
        assert_eq!(flags.verb, Verb::Delete);
    }

    #[test]
    fn a_bad_line_is_refused_by_name() {
        assert_eq!(parse("-namespace n start"), Err(FlagError::Empty("id")));
        assert_eq!(parse("-id a start"), Err(FlagError::Empty("namespace")));
        assert_eq!(parse("-nope x"), Err(FlagError::Unknown("-nope".into())));
        assert_eq!(parse("-id"), Err(FlagError::NoValue("-id".into())));
        assert_eq!(parse("-id a -namespace n run"), Err(FlagError::UnknownVerb("run".into())));
        assert_eq!(parse("-v").unwrap().verb, Verb::Version);
    }
}
