// SPDX-License-Identifier: Apache-2.0
//! Shims of another's making: what a handler knows of one, and what a pod may not ask of it.

use std::{path::PathBuf, sync::Arc};

use crisp_runtimes::preset::{Isolation, Policy, Preset};

use super::{
    error::PodError,
    spec::{Pairs, PodConfig, Sharing},
};
use crate::shims::{Dialect, Options};

/// A shim of another's making, as a handler uses it.
#[derive(Debug, Clone)]
pub struct Variant {
    /// What is particular about it.
    pub preset: Preset,
    /// How its `start` reads its standard input.
    pub dialect: Dialect,
    /// Its options, for every container.
    pub options: Option<Options>,
    /// The OCI runtime that it drives, where it can be told.
    pub runtime: Option<PathBuf>,
    /// The program of a sandbox container: a static ELF file that waits and reaps.
    pub init: Arc<[u8]>,
}

impl Variant {
    /// Refuses a pod that the shim cannot have, before anything is made.
    ///
    /// # Errors
    /// [`PodError::Invalid`] naming the handler and what it refuses.
    pub fn admit(&self, handler: &str, config: &PodConfig) -> Result<(), PodError> {
        let refused = |what: &str| {
            Err(PodError::Invalid(format!("runtime handler {handler:?} has no pods with {what}")))
        };
        let wanted = &config.namespaces;
        if wanted.network == Sharing::Node && self.preset.host_network == Policy::Refuse {
            return refused("the host's network");
        }
        if wanted.user.is_some() && self.preset.user_namespaces == Policy::Refuse {
            return refused("a user namespace");
        }
        Ok(())
    }

    /// Whether the pids and namespaces of its containers are this host's.
    #[must_use]
    pub fn is_transparent(&self) -> bool {
        self.preset.isolation == Isolation::Process
    }

    /// Those of a pod's annotations that the shim is given.
    #[must_use]
    pub fn allowed(&self, annotations: &Pairs) -> Pairs {
        let fits = |name: &str| {
            self.preset.allowed_annotations.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(stem) => name.starts_with(stem),
                None => name == pattern,
            })
        };
        let allowed = annotations.iter().filter(|(name, _)| fits(name));
        allowed.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::pods::spec::{IdMapping, UserNamespace};

    fn variant(shim: &str) -> Variant {
        Variant {
            preset: Preset::of_shim(Path::new(shim), Isolation::Process),
            dialect: Dialect::Auto,
            options: None,
            runtime: None,
            init: Arc::from([]),
        }
    }

    fn pod(change: impl FnOnce(&mut PodConfig)) -> PodConfig {
        let mut config = PodConfig::default();
        change(&mut config);
        config
    }

    #[test]
    fn a_virtual_machine_refuses_what_only_a_process_can_have() {
        let ids = IdMapping { host_id: 1 << 16, container_id: 0, length: 1 << 16 };
        let mapped = pod(|p| p.namespaces.user = Some(UserNamespace { uids: ids, gids: ids }));
        let on_host = pod(|p| p.namespaces.network = Sharing::Node);
        let (kata, runc) = (variant("containerd-shim-kata-v2"), variant("containerd-shim-runc-v2"));
        for (config, word) in [(&mapped, "user namespace"), (&on_host, "host's network")] {
            let error = kata.admit("kata", config).unwrap_err().to_string();
            assert!(error.contains("\"kata\"") && error.contains(word), "{error}");
            runc.admit("runc", config).unwrap();
        }
        kata.admit("kata", &pod(|_| {})).unwrap();
    }

    #[test]
    fn only_the_annotations_of_a_shim_reach_it() {
        let annotations = ["io.katacontainers.config.x", "io.kata", "other"];
        let annotations = annotations.map(|name| (name.to_owned(), "v".to_owned())).into();
        let given = variant("containerd-shim-kata-v2").allowed(&annotations);
        assert_eq!(given.keys().collect::<Vec<_>>(), ["io.katacontainers.config.x"]);
        assert!(variant("containerd-shim-runc-v2").allowed(&annotations).is_empty());
    }
}
