// SPDX-License-Identifier: Apache-2.0
//! Which AppArmor profile a container gets, and crisp's own one.

mod load;

use std::{collections::BTreeSet, fs, io};

pub use load::{LoadError, provide};

use super::host::Support;
use crate::pods::spec::SecurityProfile;

/// Name of the profile that stands for "the runtime's default".
pub const DEFAULT_PROFILE: &str = "crisp-default";
/// Where the kernel lists the loaded profiles.
const LOADED: &str = "/sys/kernel/security/apparmor/profiles";

/// Why a profile cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum AppArmorError {
    /// The host has no AppArmor.
    #[error("AppArmor profile {0:?} cannot be applied: AppArmor is not enabled on this host")]
    NotEnabled(String),
    /// The kernel does not know the profile.
    #[error("AppArmor profile {0:?} is not loaded")]
    NotLoaded(String),
    /// The list of profiles cannot be read.
    #[error("cannot read the loaded AppArmor profiles")]
    List(#[source] io::Error),
}

/// Names of the profiles the kernel has. Blocks.
///
/// # Errors
/// [`AppArmorError::List`] when the kernel does not tell.
pub fn loaded_profiles() -> Result<BTreeSet<String>, AppArmorError> {
    let text = fs::read_to_string(LOADED).map_err(AppArmorError::List)?;
    Ok(text.lines().map(profile_name).map(str::to_owned).collect())
}

/// A line is `name (mode)`; the name may hold spaces.
fn profile_name(line: &str) -> &str {
    line.rsplit_once(" (").map_or(line, |(name, _)| name)
}

/// What AppArmor the host offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// The kernel has it.
    pub enabled: Support,
    /// crisp's own profile could be loaded.
    pub default: Support,
}

/// The profile to put in the spec; `None` for none. `loaded` is asked for only where it matters.
///
/// The runtime's default is what the host offers: without AppArmor, or without its tools, it is
/// nothing. A profile named by the client is applied or refused.
///
/// # Errors
/// [`AppArmorError`] when the profile cannot be applied.
pub fn choose(
    asked: &SecurityProfile,
    offer: Offer,
    loaded: impl FnOnce() -> Result<BTreeSet<String>, AppArmorError>,
) -> Result<Option<String>, AppArmorError> {
    let name = match asked {
        SecurityProfile::Unconfined => return Ok(None),
        SecurityProfile::RuntimeDefault if !offer.default.is_present() => return Ok(None),
        SecurityProfile::RuntimeDefault => DEFAULT_PROFILE,
        SecurityProfile::Localhost(name) => name.strip_prefix("localhost/").unwrap_or(name),
    };
    if !offer.enabled.is_present() {
        return Err(AppArmorError::NotEnabled(name.to_owned()));
    }
    if !loaded()?.contains(name) {
        return Err(AppArmorError::NotLoaded(name.to_owned()));
    }
    Ok(Some(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(asked: &SecurityProfile, here: Support) -> Result<Option<String>, AppArmorError> {
        let offer = Offer { enabled: here, default: here };
        choose(asked, offer, || Ok(["mine".to_owned(), DEFAULT_PROFILE.to_owned()].into()))
    }

    #[test]
    fn a_named_profile_is_applied_or_refused() {
        let named = |name: &str| SecurityProfile::Localhost(name.to_owned());
        let mine = Some("mine".to_owned());
        assert_eq!(ask(&named("mine"), Support::Present).unwrap(), mine);
        assert_eq!(ask(&named("localhost/mine"), Support::Present).unwrap(), mine);
        let unknown = ask(&named("other"), Support::Present).unwrap_err();
        assert_eq!(unknown.to_string(), "AppArmor profile \"other\" is not loaded");
        assert!(matches!(ask(&named("mine"), Support::Absent), Err(AppArmorError::NotEnabled(_))));
    }

    #[test]
    fn the_default_is_what_the_host_offers() {
        let default = SecurityProfile::RuntimeDefault;
        assert_eq!(ask(&default, Support::Absent).unwrap(), None);
        assert_eq!(ask(&default, Support::Present).unwrap().unwrap(), DEFAULT_PROFILE);
        assert_eq!(ask(&SecurityProfile::Unconfined, Support::Present).unwrap(), None);
        let no_tools = Offer { enabled: Support::Present, default: Support::Absent };
        assert_eq!(choose(&default, no_tools, || Ok(BTreeSet::new())).unwrap(), None);
    }

    #[test]
    fn a_profile_name_may_hold_spaces_and_brackets() {
        assert_eq!(profile_name("a (b) c (enforce)"), "a (b) c");
    }
}
