// SPDX-License-Identifier: Apache-2.0
//! What differs between OCI runtimes: flags, error texts, abilities.
//!
//! Every function here is pure: it turns a wish into an argument list, or what a runtime wrote
//! into an answer. Who spawns the runtime, waits for it and kills it lives elsewhere. One file per
//! runtime under `dialect/`; `tests/contract.rs` runs them all through the same suite.

mod abilities;
mod argv;
mod detect;
mod dialect;
mod failure;
mod kind;
pub mod preset;

pub use abilities::{Abilities, FeaturesError};
pub use argv::{Argv, Bundle, CgroupDriver, ExecFiles, Force, Runtime, Tty};
pub use detect::{DEFAULT_ORDER, NoRuntime, first_working};
pub use failure::{Failure, LogLine, last_error};
pub use kind::{Kind, Signalling, UnknownKind};
