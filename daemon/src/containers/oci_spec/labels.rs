// SPDX-License-Identifier: Apache-2.0
//! Labels of the mandatory access control of the host, if it has one.

use super::{SpecError, SpecInput};
use crate::pods::spec::SelinuxLabel;

pub(super) fn apparmor(input: &SpecInput<'_>) -> Option<String> {
    input.apparmor.filter(|_| !input.is_privileged()).map(str::to_owned)
}

/// SELinux label of the process.
pub(super) fn process(input: &SpecInput<'_>) -> Result<Option<String>, SpecError> {
    let kind = if input.is_privileged() { "spc_t" } else { "container_t" };
    label(input, "system_r", kind)
}

/// SELinux label of the container's mounts.
pub(super) fn mounts(input: &SpecInput<'_>) -> Result<Option<String>, SpecError> {
    if input.is_privileged() {
        return Ok(None);
    }
    let file = SelinuxLabel { role: String::new(), kind: String::new(), ..wanted(input) };
    write(input, &file, "object_r", "container_file_t")
}

fn label(input: &SpecInput<'_>, role: &str, kind: &str) -> Result<Option<String>, SpecError> {
    write(input, &wanted(input), role, kind)
}

/// The container's label, else the pod's.
fn wanted(input: &SpecInput<'_>) -> SelinuxLabel {
    let own = input.container.security.selinux.as_ref();
    own.or(input.pod.selinux.as_ref()).cloned().unwrap_or_default()
}

fn write(
    input: &SpecInput<'_>,
    label: &SelinuxLabel,
    role: &str,
    kind: &str,
) -> Result<Option<String>, SpecError> {
    if !input.host.selinux.is_present() {
        return Ok(None);
    }
    let parts = [
        part("user", &label.user, "system_u")?,
        part("role", &label.role, role)?,
        part("type", &label.kind, kind)?,
        level(&label.level)?,
    ];
    Ok(Some(parts.join(":")))
}

fn part<'a>(name: &'static str, value: &'a str, default: &'a str) -> Result<&'a str, SpecError> {
    let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.');
    if !value.bytes().all(legal) {
        return Err(SpecError::Selinux { part: name, value: value.to_owned() });
    }
    Ok(if value.is_empty() { default } else { value })
}

/// `s0`, `s0:c1,c2`, `s0-s0:c0.c1023`: sensitivities and categories.
fn level(value: &str) -> Result<&str, SpecError> {
    let number = |text: &str, letter| {
        let digits = text.strip_prefix(letter).unwrap_or("");
        !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit())
    };
    let single = |text: &str| {
        let (sensitivity, categories) = text.split_once(':').unwrap_or((text, "c0"));
        number(sensitivity, 's') && categories.split([',', '.']).all(|one| number(one, 'c'))
    };
    if value.is_empty() {
        Ok("s0")
    } else if value.split('-').count() <= 2 && value.split('-').all(single) {
        Ok(value)
    } else {
        Err(SpecError::Selinux { part: "level", value: value.to_owned() })
    }
}
