// SPDX-License-Identifier: Apache-2.0
//! The cases, one file per group.

mod container;
mod exec;
mod log;
mod pod;
mod process;

use crate::case::Case;

/// All cases, in the order of the tables.
pub fn all() -> Vec<Case> {
    [pod::CASES, container::CASES, process::CASES, exec::CASES, log::CASES].concat()
}
