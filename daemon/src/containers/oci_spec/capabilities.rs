// SPDX-License-Identifier: Apache-2.0
//! Which capabilities a container gets.

use super::{SpecError, SpecInput};
use crate::containers::capabilities::CapabilitySet;

/// A container's capabilities. Permitted and effective equal the bounding set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) bounding: CapabilitySet,
    /// Those a program's file may inherit: only what was added by request. The defaults are not
    /// among them: a process without rights must not find itself with inheritable ones.
    pub(super) inheritable: CapabilitySet,
    pub(super) ambient: CapabilitySet,
}

/// `ALL` and privilege give what the daemon holds and no more. Dropping `ALL` empties the
/// defaults before anything is added; any other drop has the last word.
pub(super) fn grant(input: &SpecInput<'_>) -> Result<Granted, SpecError> {
    let security = &input.container.security;
    let held = input.host.capabilities;
    if input.is_privileged() {
        let none = CapabilitySet::EMPTY;
        return Ok(Granted { bounding: held, inheritable: none, ambient: none });
    }
    let drop = Named::read(&security.drop_capabilities)?;
    let add = Named::read(&security.add_capabilities)?;
    let ambient = Named::read(&security.add_ambient_capabilities)?;
    for asked in [add, ambient] {
        refuse_what_is_not_held(input, asked.named.without(drop.named))?;
    }
    let base = if drop.all { CapabilitySet::EMPTY } else { input.policy.default_capabilities };
    let ambient = ambient.of(held).without(drop.named);
    let added = add.of(held).without(drop.named) | ambient;
    Ok(Granted { bounding: (base & held).without(drop.named) | added, inheritable: added, ambient })
}

/// A process in a user namespace can hold any capability over that namespace.
fn refuse_what_is_not_held(input: &SpecInput<'_>, asked: CapabilitySet) -> Result<(), SpecError> {
    let missing = asked.without(input.host.capabilities);
    match missing.names().next() {
        Some(name) if !input.has_user_namespace() => {
            Err(SpecError::CapabilityNotHeld(name.to_owned()))
        }
        _ => Ok(()),
    }
}

/// A list of names, of which `ALL` is one.
#[derive(Clone, Copy)]
struct Named {
    all: bool,
    named: CapabilitySet,
}

impl Named {
    fn read(names: &[String]) -> Result<Self, SpecError> {
        let mut list = Self { all: false, named: CapabilitySet::EMPTY };
        for name in names {
            if name.eq_ignore_ascii_case("ALL") {
                list.all = true;
            } else {
                list.named = list.named | CapabilitySet::named(name)?;
            }
        }
        Ok(list)
    }

    fn of(self, held: CapabilitySet) -> CapabilitySet {
        if self.all { held | self.named } else { self.named }
    }
}
