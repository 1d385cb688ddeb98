// SPDX-License-Identifier: Apache-2.0
//! System calls that no crate of ours wraps. The daemon's one room for unsafe code.
//! The daemon's one room for unsafe code: calls that no safe crate wraps.
//! The only room of the daemon with unsafe code: system calls that have no safe wrapper.

pub(crate) mod mount;
pub(crate) mod ns;

pub mod heap;
