// SPDX-License-Identifier: Apache-2.0

use super::{Dialect, first_match};
use crate::{Abilities, Failure};

pub(super) struct Runsc;

impl Dialect for Runsc {
    fn failure(&self, text: &str) -> Option<Failure> {
        first_match(
            text,
            &[
                ("file does not exist", Failure::NotFound),
                ("does not exist", Failure::NotFound),
                ("already exists", Failure::AlreadyExists),
                ("container is not running", Failure::NotRunning),
                ("process not running", Failure::NotRunning),
                ("cannot delete container that is not stopped", Failure::Running),
            ],
        )
    }

    fn abilities_of_version(&self, _version: &str) -> Abilities {
        // gVisor's kernel is its own: it filters calls itself whatever the profile says.
        Abilities::oldest()
    }
}
