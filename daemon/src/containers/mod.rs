// SPDX-License-Identifier: Apache-2.0
//! Containers: what they are, how they are made, how they end.

pub mod record;
pub mod spec;
