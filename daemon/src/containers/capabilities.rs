// SPDX-License-Identifier: Apache-2.0
//! Sets of Linux capabilities and their names.

use std::{
    fmt,
    ops::{BitAnd, BitOr},
    str::FromStr,
};

use oci_spec::runtime::Capability;
use serde::{Deserialize, Serialize};

/// Names by number, without `CAP_`: the kernel's `linux/capability.h`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container gets unless it asks for more or less: the set Docker made the custom.
const DEFAULTS: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// A name that is no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a capability")]
pub struct UnknownCapability(pub String);

/// A set of capabilities. In records and goldens: the names in the order of their numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// The empty set.
    pub const EMPTY: Self = Self(0);

    /// Every capability crisp knows.
    #[must_use]
    pub fn known() -> Self {
        Self((1 << NAMES.len()) - 1)
    }

    /// What an ordinary container gets.
    #[must_use]
    pub fn container_default() -> Self {
        DEFAULTS.iter().filter_map(|name| Self::named(name).ok()).fold(Self::EMPTY, BitOr::bitor)
    }

    /// The set with the bits of a `Cap…:` line of `/proc/PID/status`. Capabilities newer than
    /// crisp are left out: no OCI runtime of its time could name them.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits) & Self::known()
    }

    /// The set of one capability; `name` in any case, with or without `CAP_`.
    ///
    /// # Errors
    /// [`UnknownCapability`] when there is none of that name.
    pub fn named(name: &str) -> Result<Self, UnknownCapability> {
        let upper = name.to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        match NAMES.iter().position(|known| *known == short) {
            Some(number) => Ok(Self(1 << number)),
            None => Err(UnknownCapability(name.to_owned())),
        }
    }

    /// Whether every capability of `other` is in this set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self & other == other
    }

    /// Whether the set has the capability `name`; an unknown name is in no set.
    #[must_use]
    pub fn has(self, name: &str) -> bool {
        Self::named(name).is_ok_and(|one| self.contains(one))
    }

    /// The capabilities of this set that are not in `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Names without `CAP_`, in the order of their numbers.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().enumerate().filter(move |(n, _)| self.0 & (1 << n) != 0).map(|(_, name)| *name)
    }

    /// The set in the terms of the OCI runtime spec.
    #[must_use]
    pub fn to_oci(self) -> oci_spec::runtime::Capabilities {
        self.names().filter_map(|name| Capability::from_str(name).ok()).collect()
    }
}

impl BitAnd for CapabilitySet {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for CapabilitySet {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

impl From<CapabilitySet> for Vec<String> {
    fn from(set: CapabilitySet) -> Self {
        set.names().map(str::to_owned).collect()
    }
}

impl TryFrom<Vec<String>> for CapabilitySet {
    type Error = UnknownCapability;

    fn try_from(names: Vec<String>) -> Result<Self, UnknownCapability> {
        names.iter().try_fold(Self::EMPTY, |set, name| Ok(set | Self::named(name)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_has_a_name_in_the_oci_spec() {
        assert_eq!(CapabilitySet::known().to_oci().len(), NAMES.len());
        assert_eq!(CapabilitySet::container_default().names().count(), DEFAULTS.len());
    }

    #[test]
    fn names_are_taken_with_and_without_prefix_and_in_any_case() {
        let admin = CapabilitySet::named("NET_ADMIN").unwrap();
        assert_eq!(CapabilitySet::named("CAP_NET_ADMIN").unwrap(), admin);
        assert_eq!(CapabilitySet::named("net_admin").unwrap(), admin);
        assert_eq!(
            CapabilitySet::named("NET_GOD").unwrap_err().to_string(),
            "\"NET_GOD\" is not the name of a capability"
        );
    }

    #[test]
    fn bits_are_the_kernels() {
        let set = CapabilitySet::from_bits(0x0000_01ff_feff_ffff);
        assert!(set.has("SYS_ADMIN") && set.has("CHECKPOINT_RESTORE"));
        assert!(!set.has("SYS_RESOURCE"));
        assert_eq!(CapabilitySet::from_bits(u64::MAX), CapabilitySet::known());
    }
}
