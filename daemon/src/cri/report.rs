// SPDX-License-Identifier: Apache-2.0
//! What a verbose status adds for the operator, as JSON in its `info` map. `crisp status` reads
//! it over the CRI socket; so can crictl. A service of its own would be a second protocol for the
//! same facts.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Cri;
use crate::{
    containers::record::{HostState, Phase},
    pods::{
        boot::Boot,
        progress::{Open, Stage},
        record::PodPhase,
    },
};

/// Key of a [`NodeReport`] in the runtime's verbose status.
pub const NODE_KEY: &str = "state";

/// How the node fares.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeReport {
    /// Version of the daemon.
    pub version: String,
    /// This start of the daemon.
    pub boot: Boot,
    /// Handler of pods that name none.
    pub default_handler: String,
    /// All handlers that can be used.
    pub handlers: Vec<HandlerReport>,
    /// File of the pod network, if one is loaded.
    pub network: Option<PathBuf>,
    /// Images and layers.
    pub images: ImagesReport,
    /// What could not be put back yet.
    pub pending: Vec<Pending>,
    /// What is being done now.
    pub stages: Vec<StageReport>,
}

/// A runtime handler.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HandlerReport {
    /// Its name.
    pub name: String,
    /// The OCI runtime, where it is known.
    pub runtime: Option<PathBuf>,
    /// The shim binary.
    pub shim: PathBuf,
}

/// Images and the disk they take.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImagesReport {
    /// How many.
    pub count: usize,
    /// Bytes that layers take; unknown without a daemon.
    pub bytes: Option<u64>,
    /// Directory of the layers.
    pub path: PathBuf,
}

/// Something of the host that could not be put back yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Id of the pod or container that holds it.
    pub object: String,
    /// What, and why not.
    pub what: String,
}

/// A stage that something is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageReport {
    /// Id of the pod or container, or name of the image.
    pub object: String,
    /// The stage.
    pub stage: String,
    /// When it began, nanoseconds since the Unix epoch.
    pub since_ns: i64,
    /// The longest it should take, seconds; none where only progress counts.
    pub limit_s: Option<u64>,
    /// Whether it takes longer.
    pub over: bool,
}

impl From<&Open> for StageReport {
    fn from(open: &Open) -> Self {
        Self {
            object: open.object.clone(),
            stage: open.stage.word().to_owned(),
            since_ns: open.since_ns,
            limit_s: open.limit.map(|limit| limit.as_secs()),
            over: open.is_over(),
        }
    }
}

impl Cri {
    /// The node's report.
    pub(super) fn report(&self) -> NodeReport {
        let context = &self.node.context;
        let info = context.images.fs_info();
        let handlers = context.handlers.named().map(|handler| HandlerReport {
            name: handler.name.clone(),
            runtime: handler.runtime().map(ToOwned::to_owned),
            shim: handler.shim.clone(),
        });
        let stages = context.progress.open();
        NodeReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot: context.boot,
            default_handler: context.handlers.default_handler().name.clone(),
            handlers: handlers.collect(),
            network: context.network.file(),
            images: ImagesReport {
                count: context.images.list(None).map_or(0, |images| images.len()),
                bytes: Some(info.used_bytes),
                path: info.mountpoint,
            },
            pending: self.pending(&stages),
            stages: stages.iter().map(StageReport::from).collect(),
        }
    }

    /// What pods and containers that are gone, or should be, still hold.
    fn pending(&self, stages: &[Open]) -> Vec<Pending> {
        let pods = self.node.pods();
        let mut all = Vec::new();
        for view in &pods {
            if let PodPhase::NotReady { pending } = &view.pod.phase {
                let object = view.pod.id.to_string();
                all.extend(
                    pending
                        .iter()
                        .map(|what| Pending { object: object.clone(), what: what.clone() }),
                );
            }
            let held = view.containers.iter().filter(|container| {
                matches!(container.phase, Phase::Exited(_)) && container.host == HostState::Held
            });
            for container in held {
                let id = container.id.as_str();
                // One that is being released right now is no news.
                if !stages.iter().any(|open| open.stage == Stage::Release && open.object == id) {
                    let what = "it has ended and still holds mounts or its cgroup".to_owned();
                    all.push(Pending { object: id.to_owned(), what });
                }
            }
        }
        let attached = self.node.context.network.pending().unwrap_or_default();
        let orphans = attached.into_iter().filter(|attachment| {
            let id = &attachment.pod;
            !pods.iter().any(|view| view.pod.id == *id)
                && !stages.iter().any(|open| open.object == id.as_str())
        });
        all.extend(orphans.map(|attachment| Pending {
            object: attachment.pod.to_string(),
            what: "its pod is gone and it is still on the pod network".to_owned(),
        }));
        all
    }
}
