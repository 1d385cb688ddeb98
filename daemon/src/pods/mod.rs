// SPDX-License-Identifier: Apache-2.0
//! Pods: one task owns each.

pub mod clock;
pub mod error;
pub mod record;
pub mod spec;
pub mod state;
#[cfg(test)]
mod state_model;
