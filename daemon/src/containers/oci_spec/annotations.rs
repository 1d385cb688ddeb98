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
    matches!(style, AnnotationStyle::Containerd | AnnotationStyle::Both)
}

fn has_crio(style: AnnotationStyle) -> bool {
    matches!(style, AnnotationStyle::Crio | AnnotationStyle::Both)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::spec::PodMetadata;

    fn pod() -> (SandboxId, PodConfig) {
        let metadata = PodMetadata { name: "web".into(), ..PodMetadata::default() };
        let resources = Resources { memory_limit: 1 << 20, ..Resources::default() };
        let config = PodConfig { metadata, resources: Some(resources), ..PodConfig::default() };
        (SandboxId::new("s1").unwrap(), config)
    }

    #[test]
    fn each_style_names_sandbox_and_role_in_its_own_words() {
        let (id, config) = pod();
        let pod = Pod { id: &id, config: &config };
        let ours: Annotations = pod.containerd("sandbox").into();
        assert_eq!(ours["io.kubernetes.cri.container-type"], "sandbox");
        assert_eq!(ours["io.kubernetes.cri.sandbox-id"], "s1");
        let theirs: Annotations = pod.crio("container").into();
        assert_eq!(theirs["io.kubernetes.cri-o.ContainerType"], "container");
        assert_eq!(theirs["io.kubernetes.cri-o.SandboxID"], "s1");
        let both = AnnotationStyle::Both;
        assert!(has_containerd(both) && has_crio(both));
        let none = AnnotationStyle::Nothing;
        assert!(!has_containerd(none) && !has_crio(none));
    }

    #[test]
    fn only_what_is_limited_sizes_a_machine() {
        let (id, config) = pod();
        let sizes: Vec<_> = Pod { id: &id, config: &config }.sizes().collect();
        assert_eq!(sizes, [containerd("sandbox-memory", "1048576")]);
    }
}
