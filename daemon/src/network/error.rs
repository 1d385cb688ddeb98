// SPDX-License-Identifier: Apache-2.0

use std::{io, path::PathBuf, sync::Arc};

use crisp_words::SandboxId;

use super::cni::{BadBandwidth, CniError, NoNetwork, TeardownError};
use crate::store::RecordError;

/// Why a pod could not be connected or disconnected.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// One of crisp's own directories or files cannot be used.
    #[error("network state {}: {source}", path.display())]
    Directory {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no network to connect to.
    #[error("pod network is not ready: {0}")]
    NotReady(Arc<NoNetwork>),
    /// The request cannot be passed to plugins.
    #[error("pod {namespace}/{name}: {what}")]
    Request {
        /// Pod's namespace.
        namespace: String,
        /// Pod's name.
        name: String,
        /// What is wrong.
        what: RequestProblem,
    },
    /// A plugin failed to connect the pod. What was made has been undone, unless `left` says
    /// otherwise.
    #[error("network {network:?}: {cause}{}", left_text(left))]
    Add {
        /// The network.
        network: String,
        /// The plugin's failure.
        cause: Box<AddProblem>,
        /// What could not be undone; a later detach finishes it.
        left: Option<TeardownError>,
    },
    /// Plugins failed to disconnect the pod. The record stays for another try.
    #[error("network {network:?}: pod {pod} is not disconnected: {source}")]
    Del {
        /// The network.
        network: String,
        /// The pod.
        pod: SandboxId,
        /// The plugins' failures.
        source: TeardownError,
    },
    /// The connection is not what ADD made.
    #[error("network {network:?}: {source}")]
    Check {
        /// The network.
        network: String,
        /// The plugin's complaint.
        source: Box<CniError>,
    },
    /// The attachment record cannot be written or read.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// What is wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum RequestProblem {
    /// A value would be taken for several by plugins.
    #[error("{key} {value:?} cannot be passed to CNI plugins: it has ';' or '='")]
    Separator {
        /// Which value.
        key: &'static str,
        /// The value.
        value: String,
    },
    /// A bandwidth annotation makes no sense.
    #[error(transparent)]
    Bandwidth(#[from] BadBandwidth),
}

/// Why connecting failed.
#[derive(Debug, thiserror::Error)]
pub enum AddProblem {
    /// A plugin failed.
    #[error(transparent)]
    Plugin(#[from] CniError),
    /// All plugins succeeded but gave the pod no address.
    #[error("the plugins gave no address to interface {0}")]
    NoAddress(&'static str),
}

fn left_text(left: &Option<TeardownError>) -> String {
    left.as_ref().map(|left| format!("; not undone: {left}")).unwrap_or_default()
}

impl NetworkError {
    /// Whether a plugin was killed for being late.
    #[must_use]
    pub fn is_deadline(&self) -> bool {
        match self {
            Self::Add { cause, .. } => {
                matches!(&**cause, AddProblem::Plugin(error) if error.is_deadline())
            }
            Self::Del { source, .. } => source.errors.iter().any(CniError::is_deadline),
            Self::Check { source, .. } => source.is_deadline(),
            _ => false,
        }
    }
}
