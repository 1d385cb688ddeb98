// SPDX-License-Identifier: Apache-2.0

use std::{borrow::Borrow, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest id accepted, in bytes. Ids become file names and parts of cgroup names.
const MAX_LEN: usize = 128;

/// A string that cannot be an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{kind} id {text:?} is not 1 to 128 letters, digits, '-', '_' or '.', beginning with a letter or digit"
)]
pub struct InvalidId {
    kind: &'static str,
    text: String,
}

fn check(kind: &'static str, text: &str) -> Result<(), InvalidId> {
    let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let first_legal = text.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if first_legal && text.len() <= MAX_LEN && text.bytes().all(legal) {
        Ok(())
    } else {
        Err(InvalidId { kind, text: text.to_owned() })
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes `text` as an id.
            ///
            /// # Errors
            /// [`InvalidId`] when it could not be a file name or is too long.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                check($kind, &text)?;
                Ok(Self(text))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($kind, " {}"), self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

id!(
    /// Names a pod sandbox on this node.
    SandboxId,
    "sandbox"
);
id!(
    /// Names a container on this node.
    ContainerId,
    "container"
);
id!(
    /// Names an exec within its container.
    ExecId,
    "exec"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_safe_file_name() {
        for bad in ["", ".", "..", ".a", "-a", "a/b", "a b", "a\0", &"x".repeat(129)] {
            assert!(ContainerId::new(bad).is_err(), "{bad:?} was accepted");
        }
        for good in ["a", "0f", "a.b-c_d", &"x".repeat(128)] {
            assert!(ContainerId::new(good).is_ok(), "{good:?} was refused");
        }
    }

    #[test]
    fn a_record_with_a_bad_id_is_refused() {
        assert!(serde_json::from_str::<SandboxId>("\"../x\"").is_err());
    }
}
