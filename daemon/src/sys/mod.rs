// SPDX-License-Identifier: Apache-2.0
//! The daemon's one room for unsafe code: calls that no safe crate wraps.

pub(crate) mod handed;
pub(crate) mod mount;
pub(crate) mod ns;
pub(crate) mod watched;

pub mod heap;
