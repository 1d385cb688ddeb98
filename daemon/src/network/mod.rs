// SPDX-License-Identifier: Apache-2.0
//! Pod networks: namespaces, and CNI plugins that connect them.

pub mod netns;
mod stub;
pub use stub::*;
