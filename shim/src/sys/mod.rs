// SPDX-License-Identifier: Apache-2.0
//! The one room for unsafe code, and for what the crates used do not offer safely.

mod init_image;
mod signal;
mod signals;
mod watch;

pub(crate) use init_image::init_image;
pub(crate) use signal::signal;
pub(crate) use signals::Signals;
pub(crate) use watch::watch;
