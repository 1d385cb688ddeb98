// SPDX-License-Identifier: Apache-2.0
//! Containerd shims of others: what must be known of one before it is driven. One file a shim; an
//! operator names the binary and gets the rest from here.

mod kata;
mod other;
mod runc;
mod runsc;

use std::path::Path;

use serde::{Deserialize, Serialize};

/// Where a pod's containers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// As processes of this host: their pids and namespaces are to be seen.
    Process,
    /// Behind a kernel of their own (a virtual machine, gVisor): the host sees one process.
    Kernel,
}

/// The message in which a shim takes its options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionsKind {
    /// None.
    Nothing,
    /// `containerd.runc.v1.Options`: an OCI runtime and its state directory.
    Runc,
    /// `runtimeoptions.v1.Options`: a configuration file, with the type it is said to have.
    ConfigFile {
        /// `type_url` inside the message; gVisor compares it.
        type_url: &'static str,
    },
}

/// By which annotations of a spec a shim knows a sandbox from a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum AnnotationStyle {
    /// `io.kubernetes.cri.*`: every shim knows these.
    #[default]
    Containerd,
    /// `io.kubernetes.cri-o.*` alone.
    Crio,
    /// Both.
    Both,
    /// None: each container is a sandbox to the runtime.
    Nothing,
}

/// Whether a pod may use something of the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// It may.
    Allow,
    /// It is refused before anything is made.
    Refuse,
}

/// How a shim is driven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preset {
    /// Where its containers run.
    pub isolation: Isolation,
    /// How it takes options.
    pub options: OptionsKind,
    /// How it knows a sandbox.
    pub annotations: AnnotationStyle,
    /// Annotations of pods that it is given: exact names, or beginnings that end with `*`.
    pub allowed_annotations: Vec<String>,
    /// Pods in the host's network namespace.
    pub host_network: Policy,
    /// Pods with a user namespace.
    pub user_namespaces: Policy,
}

impl Preset {
    /// What is known of the shim whose binary is `path`. `isolation` is what the operator says of
    /// a shim that is not known here.
    #[must_use]
    pub fn of_shim(path: &Path, isolation: Isolation) -> Self {
        let name = path.file_name().map(|n| n.to_string_lossy()).unwrap_or_default();
        // `containerd-shim-NAME-VERSION`; distributions put more behind NAME (`kata-qemu`).
        let name = name.strip_prefix("containerd-shim-").unwrap_or_default();
        let is = |kind: &str| name == kind || name.starts_with(&format!("{kind}-"));
        if is("kata") {
            kata::preset()
        } else if is("runsc") {
            runsc::preset()
        } else if is("runc") {
            runc::preset()
        } else {
            other::preset(isolation)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_is_known_by_its_name() {
        let of =
            |name: &str| Preset::of_shim(&Path::new("/opt/bin").join(name), Isolation::Process);
        assert_eq!(of("containerd-shim-kata-v2").isolation, Isolation::Kernel);
        assert_eq!(of("containerd-shim-kata-qemu-v2"), of("containerd-shim-kata-v2"));
        assert_eq!(of("containerd-shim-runsc-v1").user_namespaces, Policy::Refuse);
        assert_eq!(of("containerd-shim-runc-v2").options, OptionsKind::Runc);
        assert_eq!(of("containerd-shim-runcible-v2"), other::preset(Isolation::Process));
    }
}
