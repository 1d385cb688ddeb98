// SPDX-License-Identifier: Apache-2.0

use std::{collections::BTreeMap, fs, io, path::Path};

use crisp_words::bundle;
use serde::Deserialize;

/// The few fields of an OCI `config.json` that the shim itself looks at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Spec {
    annotations: BTreeMap<String, String>,
    process: Process,
    linux: Linux,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Process {
    oom_score_adj: Option<i32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Linux {
    namespaces: Vec<Namespace>,
}

#[derive(Debug, Deserialize)]
struct Namespace {
    r#type: String,
    #[serde(default)]
    path: String,
}

/// Annotations that name the sandbox whose shim a container belongs to, the first wins.
const GROUP_KEYS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// Whether init's death ends all processes of its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PidNamespace {
    /// The kernel kills the rest.
    Own,
    /// Shared with other containers or the host: the rest lives on unless the shim kills it.
    Shared,
}

impl Spec {
    /// Reads `config.json` of the bundle.
    pub(crate) fn read(bundle_dir: &Path) -> io::Result<Self> {
        let text = fs::read(bundle_dir.join(bundle::CONFIG))?;
        serde_json::from_slice(&text).map_err(io::Error::other)
    }

    /// Id of the sandbox whose shim serves this container, if it names one.
    pub(crate) fn group(&self) -> Option<&str> {
        GROUP_KEYS.iter().find_map(|k| self.annotations.get(*k)).map(String::as_str)
    }

    /// What init's oom_score_adj shall be, if the spec says it.
    pub(crate) fn oom_score_adj(&self) -> Option<i32> {
        self.process.oom_score_adj
    }

    /// What becomes of the other processes when init ends.
    pub(crate) fn pid_namespace(&self) -> PidNamespace {
        let own = |n: &Namespace| n.r#type == "pid" && n.path.is_empty();
        if self.linux.namespaces.iter().any(own) { PidNamespace::Own } else { PidNamespace::Shared }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Spec {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_container_belongs_to_the_sandbox_it_names() {
        let cri = spec(r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"pod"}}"#);
        assert_eq!(cri.group(), Some("pod"));
        assert_eq!(spec("{}").group(), None);
        assert_eq!(spec(r#"{"process":{"oomScoreAdj":0}}"#).oom_score_adj(), Some(0));
    }

    #[test]
    fn a_pid_namespace_joined_by_path_is_shared() {
        let shared = r#"{"linux":{"namespaces":[{"type":"pid","path":"/p"},{"type":"ipc"}]}}"#;
        assert_eq!(spec(shared).pid_namespace(), PidNamespace::Shared);
        assert_eq!(spec("{}").pid_namespace(), PidNamespace::Shared);
        let own = r#"{"linux":{"namespaces":[{"type":"pid"}]}}"#;
        assert_eq!(spec(own).pid_namespace(), PidNamespace::Own);
    }
}
