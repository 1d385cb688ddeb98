// SPDX-License-Identifier: Apache-2.0

use super::{Dialect, first_match};
use crate::{Abilities, Failure};

pub(super) struct Youki;

impl Dialect for Youki {
    fn failure(&self, text: &str) -> Option<Failure> {
        first_match(
            text,
            &[
                ("does not exist", Failure::NotFound),
                ("already exists", Failure::AlreadyExists),
                ("could not be deleted because it was", Failure::Running),
                ("could not be started because it was", Failure::Running),
                ("could not be killed because it was", Failure::NotRunning),
                ("is not running", Failure::NotRunning),
            ],
        )
    }

    fn abilities_of_version(&self, _version: &str) -> Abilities {
        Abilities { seccomp: true, ..Abilities::oldest() }
    }
}
