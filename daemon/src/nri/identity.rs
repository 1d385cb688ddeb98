// SPDX-License-Identifier: Apache-2.0
//! Who a plugin is: an index that orders, and a name. Pure.

use std::fmt;

use super::error::IdentityError;

/// Index and name of a plugin. Ordered as plugins are asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    index: String,
    name: String,
}

impl Identity {
    /// Checks what a plugin says of itself.
    ///
    /// # Errors
    /// [`IdentityError`] names what cannot be.
    pub fn new(index: &str, name: &str) -> Result<Self, IdentityError> {
        if index.len() != 2 || !index.bytes().all(|b| b.is_ascii_digit()) {
            return Err(IdentityError::Index(index.to_owned()));
        }
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.+".contains(&b);
        if name.is_empty() || !name.bytes().all(legal) {
            return Err(IdentityError::Name(name.to_owned()));
        }
        Ok(Self { index: index.to_owned(), name: name.to_owned() })
    }

    /// The identity that a file's name `INDEX-NAME` gives to its plugin.
    ///
    /// # Errors
    /// [`IdentityError`] when it is not of that form.
    pub fn of_file(file: &str) -> Result<Self, IdentityError> {
        match file.split_once('-') {
            Some((index, name)) => Self::new(index, name),
            None => Err(IdentityError::Index(file.to_owned())),
        }
    }

    /// Two digits.
    #[must_use]
    pub fn index(&self) -> &str {
        &self.index
    }

    /// The name without the index.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.index, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_two_digits_and_a_name_is_a_word() {
        assert_eq!(Identity::new("07", "a.b_c+d-e").unwrap().to_string(), "07-a.b_c+d-e");
        for index in ["", "7", "007", "a1", "٣"] {
            let error = Identity::new(index, "x").unwrap_err();
            assert_eq!(error, IdentityError::Index(index.into()));
        }
        for name in ["", "a b", "a/b", "ä"] {
            let error = Identity::new("00", name).unwrap_err();
            assert_eq!(error, IdentityError::Name(name.into()));
        }
    }

    #[test]
    fn a_file_is_named_for_its_plugin() {
        assert_eq!(Identity::of_file("10-a-b").unwrap(), Identity::new("10", "a-b").unwrap());
        assert!(Identity::of_file("plugin").is_err());
        assert!(Identity::of_file("10-").is_err());
    }

    #[test]
    fn plugins_are_ordered_by_index() {
        let of = |index, name| Identity::new(index, name).unwrap();
        let mut all = [of("90", "a"), of("05", "z"), of("05", "b")];
        all.sort();
        assert_eq!(all.map(|one| one.to_string()), ["05-b", "05-z", "90-a"]);
    }
}
