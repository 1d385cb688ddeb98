// SPDX-License-Identifier: Apache-2.0
//! Pods: one task owns each.

pub mod actor;
pub mod boot;
pub mod clock;
pub mod context;
pub mod error;
pub mod events;
pub mod handler;
pub mod ids;
pub mod index;
pub mod limits;
pub mod members;
pub mod message;
pub mod names;
pub mod node;
pub mod ooms;
pub mod progress;
pub mod reconcile;
pub mod record;
pub mod restore;
pub mod run;
pub mod shim;
pub mod spec;
pub mod stages;
pub mod state;
#[cfg(test)]
mod state_model;
pub mod teardown;
pub mod variant;
