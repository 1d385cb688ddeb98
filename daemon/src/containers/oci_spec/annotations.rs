// SPDX-License-Identifier: Apache-2.0
//! The annotations by which shims recognise which container belongs to which sandbox. Their names
//! are customs of containerd and CRI-O; shims of virtual machines know both.

use std::{collections::HashMap, path::Path};

use crisp_runtimes::preset::AnnotationStyle;
use crisp_words::SandboxId;

use super::SpecInput;
use crate::pods::spec::{PodConfig, Resources};

type Annotations = HashMap<String, String>;

/// Those of a container; what its handler passes on comes with them, and has no say over them.
pub(super) fn of_container(input: &SpecInput<'_>) -> Annotations {
    let (name, image) = (&input.container.metadata.name, &input.container.image.image);
    let pod = Pod { id: input.pod_id, config: input.pod };
    let mut all: Annotations =
        input.handler_annotations.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    if has_containerd(input.policy.annotations) {
        all.extend(pod.containerd("container"));
        let own = [("container-name", name.as_str()), ("image-name", image)];
        all.extend(own.map(|(key, value)| containerd(key, value)));
    }
    if has_crio(input.policy.annotations) {
        all.extend(pod.crio("container"));
        let own = [("ContainerName", name.as_str()), ("ImageName", image)];
        all.extend(own.map(|(key, value)| crio(key, value)));
    }
    all
}

/// Those of a sandbox container.
pub(super) fn of_sandbox(input: &SpecInput<'_>) -> Annotations {
    let pod = Pod { id: input.pod_id, config: input.pod };
    let mut all: Annotations =
        input.handler_annotations.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    if has_containerd(input.policy.annotations) {
        all.extend(pod.containerd("sandbox"));
        all.extend(pod.sizes());
        let logs = input.pod.log_directory.as_path();
        all.extend([containerd("sandbox-log-directory", text(logs))]);
    }
    if has_crio(input.policy.annotations) {
        all.extend(pod.crio("sandbox"));
        all.extend([crio("LogPath", text(&input.pod.log_directory))]);
    }
    all
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

fn has_containerd(style: AnnotationStyle) -> bool {
    style != AnnotationStyle::Crio
}

fn has_crio(style: AnnotationStyle) -> bool {
    style != AnnotationStyle::Containerd
}

fn containerd(key: &str, value: &str) -> (String, String) {
    (format!("io.kubernetes.cri.{key}"), value.to_owned())
}

fn crio(key: &str, value: &str) -> (String, String) {
    (format!("io.kubernetes.cri-o.{key}"), value.to_owned())
}

struct Pod<'a> {
    id: &'a SandboxId,
    config: &'a PodConfig,
}

impl Pod<'_> {
    fn containerd(&self, kind: &str) -> [(String, String); 5] {
        let pod = &self.config.metadata;
        [
            ("container-type", kind),
            ("sandbox-id", self.id.as_str()),
            ("sandbox-name", &pod.name),
            ("sandbox-namespace", &pod.namespace),
            ("sandbox-uid", &pod.uid),
        ]
        .map(|(key, value)| containerd(key, value))
    }

    fn crio(&self, kind: &str) -> [(String, String); 5] {
        let pod = &self.config.metadata;
        [
            ("ContainerType", kind),
            ("SandboxID", self.id.as_str()),
            ("SandboxName", &pod.name),
            ("KubeName", &pod.name),
            ("Namespace", &pod.namespace),
        ]
        .map(|(key, value)| crio(key, value))
    }

    /// What the pod's containers may use together: virtual machines are sized by it. Only what is
    /// limited is told.
    fn sizes(&self) -> impl Iterator<Item = (String, String)> {
        let none = Resources::default();
        let all = self.config.resources.as_ref().unwrap_or(&none);
        let values = [
            ("sandbox-cpu-period", all.cpu_period),
            ("sandbox-cpu-quota", all.cpu_quota),
            ("sandbox-cpu-shares", all.cpu_shares),
            ("sandbox-memory", all.memory_limit),
        ];
        let set = values.into_iter().filter(|(_, value)| *value != 0);
        set.map(|(key, value)| containerd(key, &value.to_string()))
    }
}
