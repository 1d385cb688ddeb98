// SPDX-License-Identifier: Apache-2.0
//! The cases, one file per group.

mod container;
mod exec;
mod idempotence;
mod image;
mod image_content;
mod image_volume;
mod log;
mod oom;
mod pod;
mod process;
mod propagation;
mod volume;

use crate::case::Case;

/// All cases, in the order of the tables.
pub fn all() -> Vec<Case> {
    [
        pod::CASES,
        container::CASES,
        process::CASES,
        exec::CASES,
        log::CASES,
        volume::CASES,
        propagation::CASES,
        oom::CASES,
        idempotence::CASES,
        image::CASES,
        image_content::CASES,
        image_volume::CASES,
    ]
    .concat()
}
