// SPDX-License-Identifier: Apache-2.0
//! `print-init`: writes the program of a sandbox's init to standard output. The daemon makes the
//! root filesystem of a sandbox container from it, for shims that want one.

use std::io::Write;

use super::Failed;
use crate::sys;

pub(super) fn run() -> Result<(), Failed> {
    Ok(std::io::stdout().lock().write_all(sys::init_image())?)
}
