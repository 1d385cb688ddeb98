// SPDX-License-Identifier: Apache-2.0

use crisp_podio::{ContainerOptions, SandboxOptions};
use protobuf::{CodedOutputStream, Message, well_known_types::any::Any};

/// The `options` of a shim: one message of a type that the shim knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    type_url: String,
    value: Vec<u8>,
}

/// Options of runc-v2 and its like (`containerd.runc.v1.Options`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuncOptions {
    /// Name or path of the OCI runtime; empty: `runc`.
    pub binary_name: String,
    /// State directory of the OCI runtime.
    pub root: String,
    /// Who makes cgroups.
    pub cgroup_driver: CgroupDriver,
    /// cgroup that the shim moves itself to; empty: stays.
    pub shim_cgroup: String,
}

/// Who makes cgroups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CgroupDriver {
    /// The OCI runtime itself.
    #[default]
    Cgroupfs,
    /// systemd, asked by the OCI runtime.
    Systemd,
}

/// Options of Kata, gVisor and their like (`runtimeoptions.v1.Options`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// Type of the configuration, where the shim asks for one.
    pub type_url: String,
    /// Path of the shim's configuration file.
    pub config_path: String,
    /// The configuration itself, instead of a path.
    pub config_body: Vec<u8>,
}

impl Options {
    /// Options of crisp's own shim for a container.
    #[must_use]
    pub fn crisp_container(options: &ContainerOptions) -> Self {
        Self::of("crisp.podio.v1.ContainerOptions", options)
    }

    /// Options of crisp's own shim for a sandbox.
    #[must_use]
    pub fn crisp_sandbox(options: &SandboxOptions) -> Self {
        Self::of("crisp.podio.v1.SandboxOptions", options)
    }

    /// Options of runc-v2.
    #[must_use]
    pub fn runc(options: &RuncOptions) -> Self {
        let mut message = containerd_shim_protos::shim::oci::Options::new();
        message.binary_name.clone_from(&options.binary_name);
        message.root.clone_from(&options.root);
        message.systemd_cgroup = options.cgroup_driver == CgroupDriver::Systemd;
        message.shim_cgroup.clone_from(&options.shim_cgroup);
        Self::of("containerd.runc.v1.Options", &message)
    }

    /// Options of a shim that is configured by a file.
    #[must_use]
    pub fn runtime(config: &RuntimeConfig) -> Self {
        Self { type_url: "runtimeoptions.v1.Options".to_owned(), value: config.encode() }
    }

    /// Any other message, already encoded.
    #[must_use]
    pub fn raw(type_url: impl Into<String>, value: Vec<u8>) -> Self {
        Self { type_url: type_url.into(), value }
    }

    fn of(type_url: &str, message: &impl Message) -> Self {
        // Writing to memory fails only for a message over 2 GiB or an unset required field;
        // proto3 has none of the second.
        let value = message.write_to_bytes().unwrap_or_default();
        Self { type_url: type_url.to_owned(), value }
    }

    pub(super) fn to_any(&self) -> Any {
        Any { type_url: self.type_url.clone(), value: self.value.clone(), ..Default::default() }
    }
}

impl RuntimeConfig {
    /// The message has three fields; a generated type would be more code than this.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut stream = CodedOutputStream::vec(&mut bytes);
        let mut write = || -> protobuf::Result<()> {
            if !self.type_url.is_empty() {
                stream.write_string(1, &self.type_url)?;
            }
            if !self.config_path.is_empty() {
                stream.write_string(2, &self.config_path)?;
            }
            if !self.config_body.is_empty() {
                stream.write_bytes(3, &self.config_body)?;
            }
            stream.flush()
        };
        // Writing to memory does not fail.
        let _ = write();
        drop(stream);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_config_is_encoded_as_protobuf() {
        let config = RuntimeConfig {
            config_path: "/a".to_owned(),
            config_body: vec![7],
            ..Default::default()
        };
        assert_eq!(Options::runtime(&config).value, [0x12, 2, b'/', b'a', 0x1a, 1, 7]);
    }
}
