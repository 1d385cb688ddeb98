// SPDX-License-Identifier: Apache-2.0
//! Which plugin set what. A field, or an entry of a field that has entries (an annotation's key,
//! a mount's destination), belongs to the first that sets it. A later plugin may take it over
//! only by asking for the removal of what is there.

use std::collections::{BTreeMap, HashMap};

use crisp_nri::{self as nri, Field};
use protobuf::Enum;

use crate::nri::error::NriError;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    Set(String),
    /// Removed by this plugin, which alone may set it again.
    Cleared(String),
}

/// Owners of the fields of containers.
#[derive(Debug, Clone, Default)]
pub struct Owners(HashMap<String, BTreeMap<(i32, String), Owner>>);

/// The name a removal names, if it is one.
pub fn removal(name: &str) -> Option<&str> {
    name.strip_prefix('-')
}

impl Owners {
    /// `plugin` sets a field of `container`, or the entry of it.
    ///
    /// # Errors
    /// [`NriError::Conflict`] when another plugin has set it.
    pub fn claim(
        &mut self,
        container: &str,
        field: Field,
        entry: &str,
        plugin: &str,
    ) -> Result<(), NriError> {
        let fields = self.0.entry(container.to_owned()).or_default();
        let key = (field.value(), entry.to_owned());
        let other = match fields.get(&key) {
            None => None,
            Some(Owner::Cleared(by)) if by == plugin => None,
            Some(Owner::Set(other) | Owner::Cleared(other)) => Some(other.clone()),
        };
        match other {
            Some(first) => Err(NriError::Conflict {
                first,
                second: plugin.to_owned(),
                what: what(container, field, entry),
            }),
            None => {
                fields.insert(key, Owner::Set(plugin.to_owned()));
                Ok(())
            }
        }
    }

    /// `plugin` removes what another has set. What no plugin has set has no owner.
    pub fn clear(&mut self, container: &str, field: Field, entry: &str, plugin: &str) {
        let fields = self.0.entry(container.to_owned()).or_default();
        if let Some(owner) = fields.get_mut(&(field.value(), entry.to_owned())) {
            *owner = Owner::Cleared(plugin.to_owned());
        }
    }

    /// `plugin` adds to a field that all may add to.
    pub fn share(&mut self, container: &str, field: Field, plugin: &str) {
        let fields = self.0.entry(container.to_owned()).or_default();
        let owner = match fields.get(&(field.value(), String::new())) {
            Some(Owner::Set(others)) => format!("{others},{plugin}"),
            _ => plugin.to_owned(),
        };
        fields.insert((field.value(), String::new()), Owner::Set(owner));
    }

    /// For validating plugins.
    #[must_use]
    pub fn to_wire(&self) -> nri::OwningPlugins {
        let mut all = nri::OwningPlugins::new();
        for (container, fields) in &self.0 {
            let mut owners = nri::FieldOwners::new();
            for ((field, entry), owner) in fields {
                let owner = match owner {
                    Owner::Set(plugin) => plugin.clone(),
                    Owner::Cleared(plugin) => format!("-{plugin}"),
                };
                if has_entries(*field) {
                    let compound = owners.compound.entry(*field).or_default();
                    compound.owners.insert(entry.clone(), owner);
                } else {
                    owners.simple.insert(*field, owner);
                }
            }
            all.owners.insert(container.clone(), owners);
        }
        all
    }
}

fn has_entries(field: i32) -> bool {
    matches!(
        Field::from_i32(field),
        Some(
            Field::Annotations
                | Field::Mounts
                | Field::Devices
                | Field::CdiDevices
                | Field::Env
                | Field::HugepageLimits
                | Field::CgroupsUnified
                | Field::Rlimits
                | Field::Namespace
                | Field::Sysctl
                | Field::LinuxNetDevices
        )
    )
}

fn what(container: &str, field: Field, entry: &str) -> String {
    match entry {
        "" => format!("{field:?} of container {container}"),
        entry => format!("{field:?} {entry:?} of container {container}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_owns_and_a_removal_hands_over() {
        let mut owners = Owners::default();
        owners.claim("c", Field::Env, "A", "00-a").unwrap();
        owners.claim("c", Field::Env, "B", "10-b").unwrap();
        owners.claim("d", Field::Env, "A", "10-b").unwrap();
        let error = owners.claim("c", Field::Env, "A", "10-b").unwrap_err();
        assert_eq!(
            error.to_string(),
            "NRI plugins 00-a and 10-b both set Env \"A\" of container c"
        );
        owners.clear("c", Field::Env, "Z", "10-b");
        owners.claim("c", Field::Env, "Z", "20-c").unwrap();
        owners.clear("c", Field::Env, "A", "10-b");
        assert!(owners.claim("c", Field::Env, "A", "20-c").is_err());
        owners.claim("c", Field::Env, "A", "10-b").unwrap();
        assert!(owners.claim("c", Field::Env, "A", "00-a").is_err());
    }

    #[test]
    fn validators_see_fields_and_entries() {
        let mut owners = Owners::default();
        owners.claim("c", Field::MemLimit, "", "00-a").unwrap();
        owners.claim("c", Field::Mounts, "/m", "00-a").unwrap();
        owners.claim("c", Field::Args, "", "00-a").unwrap();
        owners.clear("c", Field::Args, "", "10-b");
        owners.share("c", Field::OciHooks, "00-a");
        owners.share("c", Field::OciHooks, "10-b");
        let wire = owners.to_wire();
        let of = &wire.owners["c"];
        assert_eq!(of.simple[&Field::MemLimit.value()], "00-a");
        assert_eq!(of.simple[&Field::Args.value()], "-10-b");
        assert_eq!(of.simple[&Field::OciHooks.value()], "00-a,10-b");
        assert_eq!(of.compound[&Field::Mounts.value()].owners["/m"], "00-a");
    }
}
