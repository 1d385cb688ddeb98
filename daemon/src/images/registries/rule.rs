// SPDX-License-Identifier: Apache-2.0
//! One `[[registry]]`: which names it is about, and where it sends them.

use std::path::{Path, PathBuf};

use super::file::{Mirror, PullFrom, Registry};

/// A place to ask for one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host and perhaps port.
    pub host: String,
    /// The repository's path there.
    pub repository: String,
    /// How much to ask of the connection.
    pub security: Security,
    /// Whether it stands in for the registry that was named.
    pub role: Role,
}

/// What a connection must offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Security {
    /// TLS with a certificate that checks out.
    Verified,
    /// TLS with any certificate, or none at all: the administrator said so.
    Insecure,
    /// Plain HTTP is fine too, as the bytes do not leave the host.
    Loopback,
}

/// Whose credentials an endpoint may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The registry itself, wherever it is.
    Registry,
    /// Somebody else's copy.
    Mirror,
}

impl Endpoint {
    /// The registry named by `name` itself, without any rule.
    pub(super) fn direct(name: &str) -> Self {
        Self::new(name, Security::Verified, Role::Registry)
    }

    fn new(name: &str, security: Security, role: Role) -> Self {
        let (host, repository) = name.split_once('/').unwrap_or((name, ""));
        let security = match security {
            Security::Verified if is_loopback(host) => Security::Loopback,
            other => other,
        };
        Self { host: host.to_owned(), repository: repository.to_owned(), security, role }
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) prefix: String,
    pub(super) blocked: bool,
    pub(super) origin: PathBuf,
    location: String,
    security: Security,
    mirrors: Vec<MirrorRule>,
}

#[derive(Debug, Clone)]
struct MirrorRule {
    location: String,
    security: Security,
    pull_from: PullFrom,
}

impl Rule {
    pub(super) fn new(table: Registry, origin: &Path) -> Result<Self, String> {
        let location = trimmed(&table.location)?;
        let prefix = if table.prefix.is_empty() { location.clone() } else { table.prefix };
        if prefix.is_empty() {
            return Err("a [[registry]] has neither prefix nor location".to_owned());
        }
        let wildcard_legal = prefix.strip_prefix("*.").is_none_or(|rest| !rest.contains('*'));
        if prefix.contains('*') && !(prefix.starts_with("*.") && wildcard_legal) {
            return Err(format!(
                "prefix {prefix:?}: a wildcard can only be its first part, \"*.\""
            ));
        }
        if location.is_empty() && !prefix.starts_with("*.") && !table.mirror.is_empty() {
            // The prefix is then the location too.
            trimmed(&prefix)?;
        }
        let digest_only = table.mirror_by_digest_only;
        let mirrors = table
            .mirror
            .into_iter()
            .map(|mirror| MirrorRule::new(mirror, &prefix, digest_only))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            blocked: table.blocked,
            security: security(table.insecure),
            origin: origin.to_owned(),
            prefix,
            location,
            mirrors,
        })
    }

    /// Whether this rule is about `full` (`host/path:tag@digest`).
    pub(super) fn matches(&self, full: &str) -> bool {
        self.matched_length(full).is_some()
    }

    /// How much of `full` the prefix covers, ending at the end of a part.
    fn matched_length(&self, full: &str) -> Option<usize> {
        let length = match self.prefix.strip_prefix('*') {
            Some(suffix) => {
                // The wildcard stands for labels of the host only.
                let suffix_host = suffix.split('/').next().unwrap_or(suffix);
                let host = full.split('/').next().unwrap_or(full);
                let labels = host.strip_suffix(suffix_host).or_else(|| {
                    host.split(':').next().and_then(|bare| bare.strip_suffix(suffix_host))
                })?;
                full[labels.len()..].starts_with(suffix).then_some(labels.len() + suffix.len())?
            }
            None => full.starts_with(&self.prefix).then_some(self.prefix.len())?,
        };
        full[length..].chars().next().is_none_or(|c| matches!(c, '/' | ':' | '@')).then_some(length)
    }

    pub(super) fn endpoints(&self, name: &str, by_digest: bool) -> Vec<Endpoint> {
        let rest = self.matched_length(name).map_or("", |length| &name[length..]);
        let mirrors = self.mirrors.iter().filter(|mirror| match mirror.pull_from {
            PullFrom::All => true,
            PullFrom::DigestOnly => by_digest,
            PullFrom::TagOnly => !by_digest,
        });
        let mut endpoints: Vec<Endpoint> = mirrors
            .map(|m| Endpoint::new(&format!("{}{rest}", m.location), m.security, Role::Mirror))
            .collect();
        let own = if self.location.is_empty() {
            name.to_owned()
        } else {
            format!("{}{rest}", self.location)
        };
        endpoints.push(Endpoint::new(&own, self.security, Role::Registry));
        endpoints
    }
}

impl MirrorRule {
    fn new(mirror: Mirror, prefix: &str, digest_only: bool) -> Result<Self, String> {
        if mirror.location.is_empty() {
            return Err(format!("a mirror of {prefix:?} has no location"));
        }
        if digest_only && mirror.pull_from_mirror.is_some() {
            return Err(format!(
                "registry {prefix:?}: mirror-by-digest-only and pull-from-mirror exclude each other"
            ));
        }
        let pull_from = match mirror.pull_from_mirror {
            Some(pull_from) => pull_from,
            None if digest_only => PullFrom::DigestOnly,
            None => PullFrom::All,
        };
        Ok(Self {
            location: trimmed(&mirror.location)?,
            security: security(mirror.insecure),
            pull_from,
        })
    }
}

fn security(insecure: bool) -> Security {
    if insecure { Security::Insecure } else { Security::Verified }
}

fn trimmed(location: &str) -> Result<String, String> {
    if location.contains("://") {
        return Err(format!("location {location:?} must not have a scheme; use insecure = true"));
    }
    Ok(location.trim_end_matches('/').to_owned())
}
