// SPDX-License-Identifier: Apache-2.0
//! Images.

pub mod config;
pub mod digest;
pub mod error;
pub mod reference;
pub mod registries;
pub mod registry;
pub mod unpack;
