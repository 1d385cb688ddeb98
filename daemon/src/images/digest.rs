// SPDX-License-Identifier: Apache-2.0
//! Content digests: what a blob is named by, and the check that it is that blob.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

/// A content digest, `algorithm:hex`, as the OCI image spec writes it (descriptor.md).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// Text that is not a digest this program can check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a sha256 or sha512 digest in lower-case hex")]
pub struct InvalidDigest(String);

impl Digest {
    /// The sha256 digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::sha256();
        hasher.update(bytes);
        hasher.finish()
    }

    /// `algorithm:hex`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hex part.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or(&self.0, |(_, hex)| hex)
    }

    /// A hasher of this digest's algorithm.
    #[must_use]
    pub fn hasher(&self) -> Hasher {
        if self.0.starts_with("sha512:") {
            Hasher::Sha512(Box::new(Sha512::new()))
        } else {
            Hasher::sha256()
        }
    }

    /// Whether `bytes` are what this digest names.
    #[must_use]
    pub fn matches(&self, bytes: &[u8]) -> bool {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finish() == *self
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let bad = || InvalidDigest(text.to_owned());
        let (algorithm, hex) = text.split_once(':').ok_or_else(bad)?;
        let length = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return Err(bad()),
        };
        let lower_hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if hex.len() == length && hex.bytes().all(lower_hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err(bad())
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Computes a [`Digest`] piece by piece.
#[derive(Clone, Debug)]
pub enum Hasher {
    /// The algorithm of nearly every blob.
    Sha256(Sha256),
    /// Boxed: its state is large and it is rare.
    Sha512(Box<Sha512>),
}

impl Hasher {
    /// A new sha256 hasher.
    #[must_use]
    pub fn sha256() -> Self {
        Self::Sha256(Sha256::new())
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all bytes taken.
    #[must_use]
    pub fn finish(self) -> Digest {
        let (algorithm, sum) = match self {
            Self::Sha256(hasher) => ("sha256", hasher.finalize().to_vec()),
            Self::Sha512(hasher) => ("sha512", hasher.finalize().to_vec()),
        };
        let mut text = String::with_capacity(algorithm.len() + 1 + sum.len() * 2);
        text.push_str(algorithm);
        text.push(':');
        for byte in sum {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
            }
        }
        Digest(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_known_bytes_is_the_published_one() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").as_str(), empty);
        let parsed: Digest = empty.parse().unwrap();
        assert!(parsed.matches(b"") && !parsed.matches(b"x"));
    }

    #[test]
    fn text_that_is_not_a_whole_digest_is_refused() {
        let long = format!("sha256:{}", "a".repeat(65));
        let upper = format!("sha256:{}", "A".repeat(64));
        let md5 = format!("md5:{}", "a".repeat(32));
        for bad in ["", "sha256:", "sha256:abc", &long, &upper, &md5] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
        assert!(format!("sha512:{}", "0".repeat(128)).parse::<Digest>().is_ok());
    }
}
