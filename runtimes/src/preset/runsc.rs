// SPDX-License-Identifier: Apache-2.0
//! gVisor's shim: a kernel in user space for each pod, and by default a shim for each container.

use super::{AnnotationStyle, Isolation, OptionsKind, Policy, Preset};

/// The type that the shim wants its configuration file to have.
const CONFIG: &str = "io.containerd.runsc.v1.options";

pub(super) fn preset() -> Preset {
    Preset {
        isolation: Isolation::Kernel,
        options: OptionsKind::ConfigFile { type_url: CONFIG },
        annotations: AnnotationStyle::Containerd,
        allowed_annotations: vec!["dev.gvisor.*".to_owned()],
        // Its network is configured for what it finds in the namespace; `network = "host"` in its
        // configuration is the operator's to choose.
        host_network: Policy::Refuse,
        user_namespaces: Policy::Refuse,
    }
}
