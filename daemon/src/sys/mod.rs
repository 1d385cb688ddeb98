// SPDX-License-Identifier: Apache-2.0
//! System calls that no crate of ours wraps. The daemon's one room for unsafe code.
//! The daemon's one room for unsafe code: calls that no safe crate wraps.

pub(crate) mod mount;

pub mod heap;
