// SPDX-License-Identifier: Apache-2.0

use std::{fs, net::IpAddr, path::Path};

/// A pod CIDR that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pod CIDR {0:?}: must be addresses with a prefix length, separated by commas")]
pub struct BadPodCidr(String);

/// The kubelet tells the CIDR when it changes, not when the runtime restarts.
const FILE: &str = "pod-cidr";

pub(super) fn parse(text: &str) -> Result<Vec<String>, BadPodCidr> {
    let bad = || BadPodCidr(text.to_owned());
    text.split(',')
        .map(|one| {
            let one = one.trim();
            let (address, prefix) = one.split_once('/').ok_or_else(bad)?;
            let address: IpAddr = address.parse().map_err(|_| bad())?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let prefix: u8 = prefix.parse().map_err(|_| bad())?;
            if prefix > most { Err(bad()) } else { Ok(format!("{address}/{prefix}")) }
        })
        .collect()
}

pub(super) fn remembered(directory: &Path) -> Vec<String> {
    fs::read_to_string(directory.join(FILE)).ok().and_then(|t| parse(&t).ok()).unwrap_or_default()
}

pub(super) fn remember(directory: &Path, cidrs: &[String]) {
    let (path, new) = (directory.join(FILE), directory.join("pod-cidr.new"));
    let written = fs::write(&new, cidrs.join(",")).and_then(|()| fs::rename(&new, &path));
    if let Err(error) = written {
        tracing::warn!(path = %path.display(), %error, "pod CIDR will be forgotten at a restart");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cidr_of_each_family_is_read() {
        assert_eq!(
            parse("10.1.0.0/24, fd00:1::/64").unwrap(),
            ["10.1.0.0/24".to_owned(), "fd00:1::/64".to_owned()]
        );
        for bad in ["10.1.0.0", "10.1.0.0/33", "x/24", "10.1.0.0/24,", "/24"] {
            assert!(parse(bad).unwrap_err().to_string().contains(bad), "{bad}");
        }
    }

    #[test]
    fn the_cidr_outlives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        assert!(remembered(dir.path()).is_empty());
        remember(dir.path(), &["10.1.0.0/24".to_owned()]);
        assert_eq!(remembered(dir.path()), ["10.1.0.0/24"]);
    }
}
