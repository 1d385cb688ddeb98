// SPDX-License-Identifier: Apache-2.0
//! Kata Containers, both shims (Go and runtime-rs): a virtual machine for each pod.

use super::{AnnotationStyle, Isolation, OptionsKind, Policy, Preset};

/// The shim takes over the interfaces of the pod's network namespace, and would take the host's.
/// It refuses user namespaces itself, but only once a machine was booted.
pub(super) fn preset() -> Preset {
    Preset {
        isolation: Isolation::Kernel,
        options: OptionsKind::ConfigFile { type_url: "" },
        annotations: AnnotationStyle::Containerd,
        allowed_annotations: vec!["io.katacontainers.*".to_owned()],
        host_network: Policy::Refuse,
        user_namespaces: Policy::Refuse,
    }
}
