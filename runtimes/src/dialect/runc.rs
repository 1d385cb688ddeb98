// SPDX-License-Identifier: Apache-2.0

use super::{Dialect, first_match};
use crate::{Abilities, Failure};

pub(super) struct Runc;

impl Dialect for Runc {
    fn failure(&self, text: &str) -> Option<Failure> {
        first_match(
            text,
            &[
                ("container does not exist", Failure::NotFound),
                ("container with given ID already exists", Failure::AlreadyExists),
                ("container not running", Failure::NotRunning),
                ("container is not running", Failure::NotRunning),
                ("cannot exec in a stopped container", Failure::NotRunning),
                ("cannot start a container that has stopped", Failure::NotRunning),
                ("process already finished", Failure::NotRunning),
                ("cannot start an already running container", Failure::Running),
                ("that is not stopped", Failure::Running),
                ("container is paused", Failure::Paused),
                ("cannot exec in a paused container", Failure::Paused),
            ],
        )
    }

    fn abilities_of_version(&self, _version: &str) -> Abilities {
        // `features` came with 1.1.0; what is older knows the 1.0 specification.
        Abilities::oldest()
    }
}
