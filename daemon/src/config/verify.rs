// SPDX-License-Identifier: Apache-2.0
//! Rules that concern more than one key, or more than the type of a value.

use std::os::unix::ffi::OsStrExt;

use super::{
    Config, RuntimeType,
    error::{Problem, ProblemKind},
    handlers::KNOWN_RUNTIMES,
    nearest::nearest,
    tree::Node,
};

/// Longest path of a unix socket, bytes (`sun_path` less its final zero).
const SOCKET_PATH_MAX: usize = 107;

/// What is wrong with `config`; `root` is what it was read from.
pub(super) fn verify(config: &Config, root: &Node) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut report = |path: &[&str], value: String, reason: String| {
        // A rule can break only where something was written; the nearest table that was names it.
        let node = (0..=path.len()).rev().find_map(|n| root.find(&path[..n])).unwrap_or(root);
        let kind = ProblemKind::Value { key: path.join("."), value, reason };
        found.push(node.origin.problem(kind));
    };
    if config.root == config.runroot {
        let value = format!("{:?}", config.runroot);
        report(&["runroot"], value, "must not be the same directory as root".into());
    }
    let socket = config.socket();
    if socket.as_os_str().as_bytes().len() > SOCKET_PATH_MAX {
        let key: &[&str] =
            if config.api.listen.is_some() { &["api", "listen"] } else { &["runroot"] };
        let reason = format!("a socket path has at most {SOCKET_PATH_MAX} bytes");
        report(key, format!("{socket:?}"), reason);
    }
    let cgroup = &config.runtime.shim_cgroup;
    if !cgroup.is_empty() && cgroup != "pod" && !cgroup.starts_with('/') {
        let reason = "must be \"pod\", an absolute cgroup path or empty".into();
        report(&["runtime", "shim_cgroup"], format!("{cgroup:?}"), reason);
    }
    let namespace = &config.runtime.shim_namespace;
    if !is_name(namespace) {
        report(&["runtime", "shim_namespace"], format!("{namespace:?}"), NAME_RULE.into());
    }
    let api = &config.api;
    if api.stream_tls_cert.is_some() != api.stream_tls_key.is_some() {
        let (given, missing) = match api.stream_tls_cert {
            Some(_) => ("stream_tls_cert", "stream_tls_key"),
            None => ("stream_tls_key", "stream_tls_cert"),
        };
        report(&["api", missing], "\"\"".into(), format!("is needed with {given}"));
    }
    handlers(config, &mut report);
    found
}

fn handlers(config: &Config, report: &mut dyn FnMut(&[&str], String, String)) {
    for (name, handler) in &config.runtime.runtimes {
        let at = ["runtime", "runtimes", name.as_str()];
        if !is_name(name) {
            report(&at, "a handler".into(), format!("the name {NAME_RULE}"));
        }
        if handler.runtime_path.0.is_empty() && handler.runtime_type != RuntimeType::Oci {
            let reason = format!("is needed with runtime_type {:?}", handler.runtime_type.word());
            report(&[at[0], at[1], at[2], "runtime_path"], "\"\"".into(), reason);
        }
        for pattern in &handler.allowed_annotations {
            let stem = pattern.strip_suffix('*').unwrap_or(pattern);
            if stem.is_empty() || stem.contains('*') {
                let reason = "a * stands at the end of a name's beginning".into();
                let key = [at[0], at[1], at[2], "allowed_annotations"];
                report(&key, format!("{pattern:?}"), reason);
            }
        }
    }
    let default = config.runtime.default_runtime.as_str();
    let known: Vec<&str> = if config.runtime.runtimes.is_empty() {
        KNOWN_RUNTIMES.to_vec()
    } else {
        config.runtime.runtimes.keys().map(String::as_str).collect()
    };
    if !default.is_empty() && !known.contains(&default) {
        let hint = match nearest(default, known.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("there are {}", known.join(", ")),
        };
        report(
            &["runtime", "default_runtime"],
            format!("{default:?}"),
            format!("no such handler; {hint}"),
        );
    }
}

const NAME_RULE: &str =
    "must be 1 to 63 letters, digits, '-', '_' or '.', beginning with a letter or digit";

/// Names become parts of file names.
fn is_name(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=63).contains(&text.len())
        && text.as_bytes()[0].is_ascii_alphanumeric()
        && text.bytes().all(legal)
}
