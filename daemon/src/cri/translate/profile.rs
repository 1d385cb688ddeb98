// SPDX-License-Identifier: Apache-2.0
//! Seccomp and AppArmor profiles and SELinux labels. Each profile comes in two spellings: a
//! message, and an older string that counts only when the message is missing.

use std::path::Path;

use crisp_cri::{self as v1, security_profile::ProfileType};

use super::scalars::{Invalid, no_nul, unknown_number};
use crate::pods::spec::{SecurityProfile, SelinuxLabel};

const LOCALHOST: &str = "localhost/";

/// Seccomp: nothing given means unconfined.
pub(super) fn seccomp(
    at: &str,
    message: Option<v1::SecurityProfile>,
    old: &str,
) -> Result<SecurityProfile, Invalid> {
    let profile = match message {
        Some(message) => from_message(&format!("{at}.seccomp"), message)?,
        None if old.is_empty() => SecurityProfile::Unconfined,
        None => from_text(&format!("{at}.seccomp_profile_path"), old)?,
    };
    match &profile {
        SecurityProfile::Localhost(file) if !Path::new(file).is_absolute() => Err(Invalid::new(
            format!("{at}.seccomp"),
            format!("a localhost profile is an absolute path, not {file:?}"),
        )),
        _ => Ok(profile),
    }
}

/// AppArmor: nothing given means the runtime's default, on hosts that have AppArmor.
pub(super) fn apparmor(
    at: &str,
    message: Option<v1::SecurityProfile>,
    old: &str,
) -> Result<SecurityProfile, Invalid> {
    let profile = match message {
        Some(message) => from_message(&format!("{at}.apparmor"), message)?,
        None if old.is_empty() => SecurityProfile::RuntimeDefault,
        None => from_text(&format!("{at}.apparmor_profile"), old)?,
    };
    Ok(match profile {
        // Clients send the name with or without the prefix.
        SecurityProfile::Localhost(name) => {
            SecurityProfile::Localhost(name.strip_prefix(LOCALHOST).unwrap_or(&name).to_owned())
        }
        other => other,
    })
}

fn from_message(field: &str, message: v1::SecurityProfile) -> Result<SecurityProfile, Invalid> {
    let kind = ProfileType::try_from(message.profile_type)
        .map_err(|e| unknown_number(&format!("{field}.profile_type"), e.0))?;
    match kind {
        ProfileType::RuntimeDefault => Ok(SecurityProfile::RuntimeDefault),
        ProfileType::Unconfined => Ok(SecurityProfile::Unconfined),
        ProfileType::Localhost => {
            localhost(&format!("{field}.localhost_ref"), &message.localhost_ref)
        }
    }
}

fn from_text(field: &str, text: &str) -> Result<SecurityProfile, Invalid> {
    match text {
        "runtime/default" | "docker/default" => Ok(SecurityProfile::RuntimeDefault),
        "unconfined" => Ok(SecurityProfile::Unconfined),
        _ => match text.strip_prefix(LOCALHOST) {
            Some(name) => localhost(field, name),
            None => Err(Invalid::new(
                field,
                format!("{text:?} is none of runtime/default, unconfined and localhost/NAME"),
            )),
        },
    }
}

fn localhost(field: &str, name: &str) -> Result<SecurityProfile, Invalid> {
    no_nul(field, name.as_bytes())?;
    if name.is_empty() {
        return Err(Invalid::new(field, "a localhost profile needs a name"));
    }
    Ok(SecurityProfile::Localhost(name.to_owned()))
}

pub(super) fn profile_to_cri(profile: &SecurityProfile) -> v1::SecurityProfile {
    let (kind, name) = match profile {
        SecurityProfile::RuntimeDefault => (ProfileType::RuntimeDefault, ""),
        SecurityProfile::Unconfined => (ProfileType::Unconfined, ""),
        SecurityProfile::Localhost(name) => (ProfileType::Localhost, name.as_str()),
    };
    v1::SecurityProfile { profile_type: kind.into(), localhost_ref: name.to_owned() }
}

pub(super) fn selinux(option: v1::SeLinuxOption) -> SelinuxLabel {
    SelinuxLabel { user: option.user, role: option.role, kind: option.r#type, level: option.level }
}

pub(super) fn selinux_to_cri(label: &SelinuxLabel) -> v1::SeLinuxOption {
    v1::SeLinuxOption {
        user: label.user.clone(),
        role: label.role.clone(),
        r#type: label.kind.clone(),
        level: label.level.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: ProfileType, name: &str) -> Option<v1::SecurityProfile> {
        Some(v1::SecurityProfile { profile_type: kind.into(), localhost_ref: name.into() })
    }

    #[test]
    fn no_seccomp_profile_is_unconfined_and_an_empty_message_is_the_default() {
        assert_eq!(seccomp("x", None, ""), Ok(SecurityProfile::Unconfined));
        assert_eq!(
            seccomp("x", Some(v1::SecurityProfile::default()), ""),
            Ok(SecurityProfile::RuntimeDefault)
        );
    }

    #[test]
    fn no_apparmor_profile_is_the_default() {
        assert_eq!(apparmor("x", None, ""), Ok(SecurityProfile::RuntimeDefault));
        assert_eq!(apparmor("x", None, "unconfined"), Ok(SecurityProfile::Unconfined));
    }

    #[test]
    fn the_message_wins_over_the_old_string() {
        let given = message(ProfileType::Unconfined, "");
        assert_eq!(apparmor("x", given, "localhost/n"), Ok(SecurityProfile::Unconfined));
        let given = message(ProfileType::Localhost, "/a.json");
        let expected = SecurityProfile::Localhost("/a.json".into());
        assert_eq!(seccomp("x", given, "unconfined"), Ok(expected));
    }

    #[test]
    fn old_strings_are_understood() {
        assert_eq!(seccomp("x", None, "runtime/default"), Ok(SecurityProfile::RuntimeDefault));
        let file = SecurityProfile::Localhost("/p.json".into());
        assert_eq!(seccomp("x", None, "localhost//p.json"), Ok(file));
        let error = seccomp("x", None, "what").unwrap_err();
        assert_eq!(error.field, "x.seccomp_profile_path");
    }

    #[test]
    fn a_localhost_profile_needs_a_usable_name() {
        assert!(seccomp("x", message(ProfileType::Localhost, ""), "").is_err());
        assert!(seccomp("x", message(ProfileType::Localhost, "relative.json"), "").is_err());
        let name = SecurityProfile::Localhost("web".into());
        for given in ["web", "localhost/web"] {
            assert_eq!(apparmor("x", message(ProfileType::Localhost, given), ""), Ok(name.clone()));
        }
    }

    #[test]
    fn a_kind_nobody_knows_is_refused() {
        let given = Some(v1::SecurityProfile { profile_type: 9, ..Default::default() });
        assert_eq!(seccomp("x", given, "").unwrap_err().field, "x.seccomp.profile_type");
    }
}
