// SPDX-License-Identifier: Apache-2.0
//! Short ways into the nested, optional messages of pod and container configs.

use crisp_cri::*;

/// Reaches into a pod config, making what is absent.
pub trait EditPod {
    /// The Linux part.
    fn linux(&mut self) -> &mut LinuxPodSandboxConfig;
    /// The security settings.
    fn security(&mut self) -> &mut LinuxSandboxSecurityContext {
        self.linux().security_context.get_or_insert_default()
    }
    /// The namespaces.
    fn namespaces(&mut self) -> &mut NamespaceOption {
        self.security().namespace_options.get_or_insert_default()
    }
}

impl EditPod for PodSandboxConfig {
    fn linux(&mut self) -> &mut LinuxPodSandboxConfig {
        self.linux.get_or_insert_default()
    }
}

/// Reaches into a container config, making what is absent.
pub trait EditContainer {
    /// The Linux part.
    fn linux(&mut self) -> &mut LinuxContainerConfig;
    /// The security settings.
    fn security(&mut self) -> &mut LinuxContainerSecurityContext {
        self.linux().security_context.get_or_insert_default()
    }
    /// The namespaces.
    fn namespaces(&mut self) -> &mut NamespaceOption {
        self.security().namespace_options.get_or_insert_default()
    }
    /// The capabilities.
    fn capabilities(&mut self) -> &mut Capability {
        self.security().capabilities.get_or_insert_default()
    }
    /// The resources.
    fn resources(&mut self) -> &mut LinuxContainerResources {
        self.linux().resources.get_or_insert_default()
    }
    /// The container is PID 1 of a PID namespace of its own.
    fn own_pids(&mut self) {
        self.namespaces().pid = NamespaceMode::Container.into();
    }
    /// Replaces the command by a shell script.
    fn script(&mut self, script: &str);
    /// Replaces the command.
    fn command(&mut self, command: &[&str]);
    /// Adds a bind mount.
    fn bind(&mut self, host: &std::path::Path, container: &str) -> &mut Mount;
}

impl EditContainer for ContainerConfig {
    fn linux(&mut self) -> &mut LinuxContainerConfig {
        self.linux.get_or_insert_default()
    }

    fn script(&mut self, script: &str) {
        self.command(&["sh", "-c", script]);
    }

    fn command(&mut self, command: &[&str]) {
        self.command = strings(command);
    }

    fn bind(&mut self, host: &std::path::Path, container: &str) -> &mut Mount {
        self.mounts.push(Mount {
            host_path: host.display().to_string(),
            container_path: container.to_owned(),
            ..Default::default()
        });
        let last = self.mounts.len() - 1;
        &mut self.mounts[last]
    }
}

/// Owned strings of `words`.
pub fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

/// A map of `pairs`.
pub fn map(pairs: &[(&str, &str)]) -> std::collections::HashMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}
