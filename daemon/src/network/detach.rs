// SPDX-License-Identifier: Apache-2.0

use std::collections::BTreeSet;

use crisp_words::SandboxId;
use serde_json::Map;

use super::{
    INTERFACE, Inner, Network, NetworkError,
    cni::{NetworkConf, ValidAttachment},
    record::{self, AttachmentPhase, AttachmentRecord},
};
use crate::store::{self, RecordError};

/// A pod that has, or may have, something of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The pod.
    pub pod: SandboxId,
    /// How far its connection came.
    pub state: PendingState,
}

/// How far a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PendingState {
    /// It is complete.
    Attached,
    /// It was begun and not finished, or its record cannot be read.
    Unfinished,
}

impl Network {
    /// Disconnects a pod. One that has no connection, or whose namespace or configuration file is
    /// gone, is as good as disconnected. On failure it can be tried again.
    ///
    /// # Errors
    /// [`NetworkError::Del`], or [`NetworkError::Record`] for a record that cannot be removed.
    pub async fn detach(&self, pod: &SandboxId) -> Result<(), NetworkError> {
        let remembered = match self.inner.remembered(pod) {
            Ok(None) => return Ok(()),
            Ok(Some(remembered)) => remembered,
            Err(NetworkError::Record(newer @ RecordError::Newer { .. })) => {
                return Err(newer.into());
            }
            Err(error) => {
                tracing::warn!(%pod, %error, "disconnecting by the network in use");
                let Ok(found) = self.inner.found_now() else {
                    // Nothing is known of what was made, and nobody is there to ask.
                    return self.inner.forget(pod);
                };
                (found.conf.clone(), unknown(pod, &found.conf))
            }
        };
        let (conf, record) = remembered;
        self.inner.tear_down(pod, &conf, &record).await
    }

    /// Pods that have something of the network: what a crash or a reboot left among them.
    ///
    /// # Errors
    /// [`NetworkError::Directory`].
    pub fn pending(&self) -> Result<Vec<Pending>, NetworkError> {
        let pods = self.inner.recorded_pods()?;
        let state = |pod: &SandboxId| match self.inner.remembered(pod) {
            Ok(Some((_, record))) if record.phase != AttachmentPhase::Adding => {
                PendingState::Attached
            }
            _ => PendingState::Unfinished,
        };
        Ok(pods.into_iter().map(|pod| Pending { state: state(&pod), pod }).collect())
    }

    /// Disconnects every pod that is not in `live`, then lets plugins that know how (version
    /// 1.1.0) drop what belongs to no pod at all. Goes on when one fails.
    ///
    /// # Errors
    /// All that failed.
    pub async fn gc(&self, live: &BTreeSet<SandboxId>) -> Result<(), Vec<NetworkError>> {
        let mut errors = Vec::new();
        let recorded = self.inner.recorded_pods().map_err(|error| vec![error])?;
        for pod in recorded.iter().filter(|pod| !live.contains(*pod)) {
            if let Err(error) = self.detach(pod).await {
                errors.push(error);
            }
        }
        if let Ok(found) = self.inner.found_now() {
            // A pod whose disconnection failed keeps its claim: its DEL will be tried again.
            let valid = self.inner.attachments_of(&found.conf.name);
            if let Err(source) = self.inner.caller.gc(&found.conf, &valid).await {
                tracing::warn!(network = found.conf.name, error = %source, "network GC failed");
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

/// What can be said of a pod whose record cannot be read.
fn unknown(pod: &SandboxId, conf: &NetworkConf) -> AttachmentRecord {
    AttachmentRecord {
        pod: pod.clone(),
        conf: conf.to_json(),
        netns: "".into(),
        interface: INTERFACE.to_owned(),
        args: "IgnoreUnknown=1".to_owned(),
        offered: Map::new(),
        phase: AttachmentPhase::Adding,
    }
}

impl Inner {
    /// DEL, then the record goes.
    pub(super) async fn tear_down(
        &self,
        pod: &SandboxId,
        conf: &NetworkConf,
        record: &AttachmentRecord,
    ) -> Result<(), NetworkError> {
        let flight = self.begin_flight(pod).await?;
        let result = record.result();
        let deleted = self.caller.del(conf, &record.target(&flight), result.as_ref()).await;
        flight.end();
        deleted.map_err(|source| NetworkError::Del {
            network: conf.name.clone(),
            pod: pod.clone(),
            source,
        })?;
        self.forget(pod)
    }

    fn forget(&self, pod: &SandboxId) -> Result<(), NetworkError> {
        let path = self.record_path(pod);
        store::remove(&path).map_err(|source| NetworkError::Directory { path, source })
    }

    fn recorded_pods(&self) -> Result<Vec<SandboxId>, NetworkError> {
        let path = &self.settings.state_dir;
        record::pods(path).map_err(|source| NetworkError::Directory { path: path.clone(), source })
    }

    fn attachments_of(&self, network: &str) -> Vec<ValidAttachment> {
        let pods = self.recorded_pods().unwrap_or_default();
        let of_network = |pod: SandboxId| {
            let (conf, record) = self.remembered(&pod).ok()??;
            let interface = record.interface;
            (conf.name == network).then(|| ValidAttachment { id: pod.into(), interface })
        };
        pods.into_iter().filter_map(of_network).collect()
    }
}
