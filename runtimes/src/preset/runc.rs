// SPDX-License-Identifier: Apache-2.0
//! containerd's own shim, which drives runc or another OCI runtime.

use super::{AnnotationStyle, Isolation, OptionsKind, Policy, Preset};

pub(super) fn preset() -> Preset {
    Preset {
        isolation: Isolation::Process,
        options: OptionsKind::Runc,
        annotations: AnnotationStyle::Containerd,
        allowed_annotations: Vec::new(),
        host_network: Policy::Allow,
        user_namespaces: Policy::Allow,
    }
}
