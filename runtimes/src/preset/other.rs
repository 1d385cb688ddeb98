// SPDX-License-Identifier: Apache-2.0
//! A shim of which nothing is known but what the operator says.

use super::{AnnotationStyle, Isolation, OptionsKind, Policy, Preset};

pub(super) fn preset(isolation: Isolation) -> Preset {
    let policy = match isolation {
        Isolation::Process => Policy::Allow,
        Isolation::Kernel => Policy::Refuse,
    };
    Preset {
        isolation,
        options: OptionsKind::ConfigFile { type_url: "" },
        annotations: AnnotationStyle::Containerd,
        allowed_annotations: Vec::new(),
        host_network: policy,
        user_namespaces: policy,
    }
}
