// SPDX-License-Identifier: Apache-2.0
//! System calls that no crate of ours wraps. The daemon's one room for unsafe code.

pub(crate) mod mount;


