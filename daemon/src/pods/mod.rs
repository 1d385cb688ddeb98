// SPDX-License-Identifier: Apache-2.0
//! Pods: one task owns each.

pub mod spec;
