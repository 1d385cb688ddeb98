// SPDX-License-Identifier: Apache-2.0
//! A caller of CNI plugins, for versions 0.3.0 to 1.1.0 of the specification
//! (<https://www.cni.dev/docs/spec/>).

mod chain;
mod conf;
mod error;
mod load;
mod plugin;
mod result;
mod runtime_config;
mod version;

use std::fmt;

pub use chain::{Caller, Target, TeardownError, ValidAttachment};
pub use conf::{ConfProblem, ExtraPlugins, NetworkConf, PluginConf, Verb};
pub use error::{AnswerProblem, CniError};
pub use load::{BadFile, Choice, FileProblem, Found, NoNetwork, load};
pub use result::{AddResult, ResultProblem};
pub use runtime_config::{BadBandwidth, Wishes};
pub use version::SpecVersion;

/// A command of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Connect.
    Add,
    /// Is the connection still as it was made?
    Check,
    /// Disconnect.
    Del,
    /// Is the plugin able to ADD?
    Status,
    /// Drop what belongs to no living attachment.
    Gc,
    /// Which versions are spoken?
    Version,
}

impl Command {
    /// As plugins read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Check => "CHECK",
            Self::Del => "DEL",
            Self::Status => "STATUS",
            Self::Gc => "GC",
            Self::Version => "VERSION",
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
