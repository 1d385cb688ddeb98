// SPDX-License-Identifier: Apache-2.0
//! Containers: what they are, how they are made, how they end.

pub mod capabilities;
pub mod host;
pub mod record;
pub mod signals;
pub mod spec;
pub mod users;
