// SPDX-License-Identifier: Apache-2.0
//! crisp.

pub mod io;
mod sys;
