// SPDX-License-Identifier: Apache-2.0

use serde::Deserialize;

use crate::{Kind, dialect};

/// What a runtime can do, as far as a caller must know before it writes a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a set of independent yes-or-no facts")]
pub struct Abilities {
    /// Highest `ociVersion` it accepts in `config.json`, without a suffix such as `-dev`.
    pub oci_version: String,
    /// Mount option `rro`.
    pub recursive_read_only: bool,
    /// `uidMappings` of a mount (id-mapped mounts).
    pub idmap_mounts: bool,
    /// Seccomp filters are compiled in.
    pub seccomp: bool,
    /// AppArmor profiles are applied.
    pub apparmor: bool,
    /// SELinux labels are applied.
    pub selinux: bool,
    /// cgroup v2.
    pub cgroup_v2: bool,
    /// Can let systemd make cgroups.
    pub systemd: bool,
}

/// Output of a runtime's `features` that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("what the OCI runtime {kind} prints as its features cannot be read")]
pub struct FeaturesError {
    kind: Kind,
    #[source]
    source: serde_json::Error,
}

/// The specification that every runtime in use accepts.
const OLDEST_OCI: &str = "1.0.2";

impl Abilities {
    /// What may be assumed of a runtime that does not tell.
    #[must_use]
    pub fn oldest() -> Self {
        Self {
            oci_version: OLDEST_OCI.to_owned(),
            recursive_read_only: false,
            idmap_mounts: false,
            seccomp: true,
            apparmor: false,
            selinux: false,
            cgroup_v2: true,
            systemd: true,
        }
    }

    /// Reads the output of `RUNTIME features` (OCI runtime specification, `features.md`).
    ///
    /// # Errors
    /// [`FeaturesError`] when it is not that JSON.
    pub fn parse(kind: Kind, features: &str) -> Result<Self, FeaturesError> {
        let features: Features =
            serde_json::from_str(features).map_err(|source| FeaturesError { kind, source })?;
        Ok(features.into())
    }

    /// What is known of a runtime without a `features` command, from its `--version`.
    #[must_use]
    pub fn of_version(kind: Kind, version: &str) -> Self {
        dialect::of(kind).abilities_of_version(version)
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Features {
    oci_version_max: String,
    mount_options: Vec<String>,
    linux: Linux,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Linux {
    cgroup: Cgroup,
    seccomp: Switch,
    apparmor: Switch,
    selinux: Switch,
    mount_extensions: MountExtensions,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Cgroup {
    v2: bool,
    systemd: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct MountExtensions {
    idmap: Switch,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Switch {
    enabled: bool,
}

impl From<Features> for Abilities {
    fn from(features: Features) -> Self {
        let number = features.oci_version_max.split(['-', '+']).next().unwrap_or_default();
        let oci_version = if number.is_empty() { OLDEST_OCI } else { number };
        Self {
            oci_version: oci_version.to_owned(),
            recursive_read_only: features.mount_options.iter().any(|o| o == "rro"),
            idmap_mounts: features.linux.mount_extensions.idmap.enabled,
            seccomp: features.linux.seccomp.enabled,
            apparmor: features.linux.apparmor.enabled,
            selinux: features.linux.selinux.enabled,
            cgroup_v2: features.linux.cgroup.v2,
            systemd: features.linux.cgroup.systemd,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_read() {
        let text = r#"{"ociVersionMin":"1.0.0","ociVersionMax":"1.2.1-dev","mountOptions":["ro","rro"],
            "linux":{"seccomp":{"enabled":true,"archs":[]},"cgroup":{"v1":true,"v2":true,"systemd":true},
            "apparmor":{"enabled":true},"mountExtensions":{"idmap":{"enabled":true}}}}"#;
        let abilities = Abilities::parse(Kind::Runc, text).unwrap();
        assert_eq!(abilities.oci_version, "1.2.1");
        assert!(abilities.recursive_read_only && abilities.idmap_mounts && abilities.seccomp);
        assert!(!abilities.selinux);
        assert!(Abilities::parse(Kind::Runc, "unknown command").is_err());
    }

    #[test]
    fn an_old_crun_is_known_by_its_version() {
        let version = "crun version 1.8.1\ncommit: f\nspec: 1.0.0\n+SYSTEMD +SELINUX +APPARMOR +CAP +SECCOMP\n";
        let abilities = Abilities::of_version(Kind::Crun, version);
        assert_eq!(abilities.oci_version, "1.0.2");
        assert!(abilities.seccomp && abilities.recursive_read_only && abilities.idmap_mounts);
    }
}
