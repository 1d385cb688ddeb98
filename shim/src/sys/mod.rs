// SPDX-License-Identifier: Apache-2.0
//! The one room for unsafe code, and for what the crates used do not offer safely.

mod watch;

pub(crate) use watch::watch;
