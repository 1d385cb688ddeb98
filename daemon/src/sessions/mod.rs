// SPDX-License-Identifier: Apache-2.0
//! Sessions: exec, attach and port-forward.

pub mod spdy;
