// SPDX-License-Identifier: Apache-2.0
//! The version of the OCI runtime spec that a spec claims to follow.

/// Versions crisp writes, newest first. What it writes has not changed since the last of them,
/// but for fields whose support is checked one by one.
const VERSIONS: [(&str, [u64; 3]); 3] =
    [("1.2.1", [1, 2, 1]), ("1.1.0", [1, 1, 0]), ("1.0.2", [1, 0, 2])];

/// The newest version that a runtime which takes up to `max` takes; the oldest for a runtime that
/// does not tell: some refuse any version they do not know.
pub(super) fn oci_version(max: Option<&str>) -> &'static str {
    let max = max.and_then(numbers).unwrap_or_default();
    let known = VERSIONS.iter().find(|(_, version)| *version <= max);
    known.map_or("1.0.2", |(text, _)| text)
}

fn numbers(version: &str) -> Option<[u64; 3]> {
    let release = version.split(['-', '+']).next()?;
    let mut parts = release.split('.').map(|part| part.parse().ok());
    Some([parts.next()??, parts.next()??, parts.next()??])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_one_that_the_runtime_takes() {
        for (max, version) in [
            (None, "1.0.2"),
            (Some("1.0.2-dev"), "1.0.2"),
            (Some("1.1.0+dev"), "1.1.0"),
            (Some("1.2.0"), "1.1.0"),
            (Some("1.2.1"), "1.2.1"),
            (Some("1.3.0"), "1.2.1"),
            (Some("new"), "1.0.2"),
        ] {
            assert_eq!(oci_version(max), version, "{max:?}");
        }
    }
}
