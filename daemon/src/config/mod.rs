// SPDX-License-Identifier: Apache-2.0
//! Configuration: `/etc/crisp/crisp.conf`, then `/etc/crisp/crisp.conf.d/*.conf` in the order of
//! their names. TOML in CRI-O's vocabulary without its prefix; `[crio.runtime]` and the like are
//! accepted too. Later files win, key by key; an array is replaced as a whole.
//!
//! `keys` lists every key once: name, type, default and comment. Reading, checking and printing
//! are derived from that list.

mod entry;
mod error;
mod handlers;
pub mod import;
mod keys;
mod load;
mod nearest;
mod section;
mod tree;
mod verify;

pub use entry::PortRange;
pub use error::{ConfigError, Problem, ProblemKind};
pub use handlers::{Handler, HandlerError, Handlers, find_program};
pub use keys::{
    AnnotationStyle, Api, CgroupManager, Config, Deadlines, HostNetwork, Image, LogFormat,
    LogLevel, Metrics, Network, Nri, PodMetricGroup, Program, Runtime, RuntimeHandler, RuntimeType,
    ShimBootstrap, ShimOptions, Stats, SystemdPresence,
};
pub use load::{DEFAULT_FILE, load, load_text};

use section::Printer;

#[cfg(test)]
mod tests;

impl Config {
    /// The configuration as a file with comments. Reading it back gives an equal value.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut printer = Printer::default();
        printer.root(self);
        printer.finish()
    }
}
