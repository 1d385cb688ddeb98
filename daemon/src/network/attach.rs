// SPDX-License-Identifier: Apache-2.0

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, PoisonError},
};

use crisp_words::SandboxId;
use serde_json::{Map, Value};

use super::{
    INTERFACE, Inner, Network, NetworkError,
    cni::{AddResult, Found, NetworkConf, Target, TeardownError, Wishes},
    error::{AddProblem, RequestProblem},
    flight::Flight,
    record::{self, AttachmentPhase, AttachmentRecord},
};
use crate::{
    pods::spec::{DnsConfig, Pairs, PortMapping},
    store,
};

/// A pod that wants to be connected.
#[derive(Debug, Clone, Default)]
pub struct AttachRequest {
    /// Pod's name.
    pub name: String,
    /// Pod's namespace.
    pub namespace: String,
    /// Pod's uid.
    pub uid: String,
    /// Where the pod's network namespace is pinned.
    pub netns: PathBuf,
    /// Ports to publish.
    pub port_mappings: Vec<PortMapping>,
    /// The pod's DNS settings.
    pub dns: Option<DnsConfig>,
    /// The pod's cgroup, from the hierarchy's root.
    pub cgroup: String,
    /// The pod's annotations.
    pub annotations: Pairs,
}

/// A connected pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Addresses, the primary one first.
    pub ips: Vec<IpAddr>,
    /// Name of the interface in the pod.
    pub interface: String,
    /// Name of the network.
    pub network: String,
}

impl Network {
    /// Connects a pod. On failure what plugins made is undone; what could not be undone is left
    /// to [`detach`](Self::detach), as is everything when this future is dropped before its end.
    /// Calls for the same pod must follow one another.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn attach(
        &self,
        pod: &SandboxId,
        request: &AttachRequest,
    ) -> Result<Attachment, NetworkError> {
        let found = self.inner.found_now().map_err(NetworkError::NotReady)?;
        let (args, offered) = self.inner.words_of(pod, request)?;
        if offered.contains_key("portMappings") && !found.conf.declares("portMappings") {
            let network = &found.conf.name;
            tracing::warn!(%pod, network, "host ports asked for, but no plugin publishes ports");
        }
        if self.inner.record_path(pod).exists() {
            // An earlier try that was cut off.
            self.detach(pod).await?;
        }
        let record = AttachmentRecord {
            pod: pod.clone(),
            conf: found.conf.to_json(),
            netns: request.netns.clone(),
            interface: INTERFACE.to_owned(),
            args,
            offered,
            phase: AttachmentPhase::Adding,
        };
        record::write(self.inner.record_path(pod), record.clone()).await?;
        let flight = self.inner.begin_flight(pod).await?;
        let added = self.inner.add(&found, &record, &flight).await;
        flight.end();
        let result = match added {
            Ok(result) => result,
            Err(cause) => {
                let left = self.inner.undo(pod, &found.conf, &record).await;
                let (network, cause) = (found.conf.name.clone(), Box::new(cause));
                return Err(NetworkError::Add { network, cause, left });
            }
        };
        let attachment = attachment(&found.conf, &result);
        let phase = AttachmentPhase::Added { result: result.json };
        record::write(self.inner.record_path(pod), AttachmentRecord { phase, ..record }).await?;
        Ok(attachment)
    }

    /// The connection of a pod as remembered; `None` when it has none.
    ///
    /// # Errors
    /// [`NetworkError::Record`].
    pub fn attachment(&self, pod: &SandboxId) -> Result<Option<Attachment>, NetworkError> {
        let Some((conf, record)) = self.inner.remembered(pod)? else { return Ok(None) };
        Ok(record.result().map(|result| attachment(&conf, &result)))
    }

    /// Asks the plugins whether the pod's connection is still as they made it.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn check(&self, pod: &SandboxId) -> Result<(), NetworkError> {
        let Some((conf, record)) = self.inner.remembered(pod)? else { return Ok(()) };
        let Some(result) = record.result() else { return Ok(()) };
        let flight = self.inner.begin_flight(pod).await?;
        let target = record.target(&flight);
        let checked = self.inner.caller.check(&conf, &target, &result).await;
        flight.end();
        checked.map_err(|error| NetworkError::Check { network: conf.name, source: error.into() })
    }
}

fn attachment(conf: &NetworkConf, result: &AddResult) -> Attachment {
    Attachment {
        ips: result.addresses(INTERFACE),
        interface: INTERFACE.to_owned(),
        network: conf.name.clone(),
    }
}

impl AttachmentRecord {
    pub(super) fn result(&self) -> Option<AddResult> {
        match &self.phase {
            AttachmentPhase::Adding => None,
            AttachmentPhase::Added { result } => AddResult::new(result.clone()).ok(),
        }
    }

    pub(super) fn target<'a>(&'a self, flight: &'a Flight) -> Target<'a> {
        Target {
            id: self.pod.as_str(),
            netns: Some(self.netns.as_path()).filter(|path| super::netns::is_pinned(path)),
            interface: &self.interface,
            args: &self.args,
            offered: &self.offered,
            carrier: flight.carrier(),
        }
    }
}

impl Inner {
    async fn add(
        &self,
        found: &Arc<Found>,
        record: &AttachmentRecord,
        flight: &Flight,
    ) -> Result<AddResult, AddProblem> {
        let result = self.caller.add(&found.conf, &record.target(flight)).await?;
        if result.addresses(INTERFACE).is_empty() {
            return Err(AddProblem::NoAddress(INTERFACE));
        }
        Ok(result)
    }

    /// Undoes a failed ADD. Answers with what could not be undone.
    async fn undo(
        &self,
        pod: &SandboxId,
        conf: &NetworkConf,
        record: &AttachmentRecord,
    ) -> Option<TeardownError> {
        match self.tear_down(pod, conf, record).await {
            Ok(()) => None,
            Err(NetworkError::Del { source, .. }) => Some(source),
            Err(error) => {
                tracing::warn!(%pod, %error, "failed attachment is not undone");
                None
            }
        }
    }

    pub(super) async fn begin_flight(&self, pod: &SandboxId) -> Result<Flight, NetworkError> {
        let path = self.flight_path(pod);
        Flight::begin(path.clone(), self.settings.deadline)
            .await
            .map_err(|source| NetworkError::Directory { path, source })
    }

    /// The record of a pod and the network it was written for.
    pub(super) fn remembered(
        &self,
        pod: &SandboxId,
    ) -> Result<Option<(NetworkConf, AttachmentRecord)>, NetworkError> {
        let path = self.record_path(pod);
        let record = match store::read::<AttachmentRecord>(&path) {
            Err(store::RecordError::Missing { .. }) => return Ok(None),
            record => record?,
        };
        let conf = NetworkConf::from_json(record.conf.clone()).map_err(|problem| {
            NetworkError::Directory { path, source: std::io::Error::other(problem) }
        })?;
        Ok(Some((conf, record)))
    }

    /// `CNI_ARGS` and capabilities for a pod.
    fn words_of(
        &self,
        pod: &SandboxId,
        request: &AttachRequest,
    ) -> Result<(String, Map<String, Value>), NetworkError> {
        let refused = |what| NetworkError::Request {
            namespace: request.namespace.clone(),
            name: request.name.clone(),
            what,
        };
        let args = arguments(pod, request).map_err(refused)?;
        let cidrs = self.cidrs.read().unwrap_or_else(PoisonError::into_inner).clone();
        let wishes = Wishes {
            ports: &request.port_mappings,
            dns: request.dns.as_ref(),
            cgroup: &request.cgroup,
            annotations: Some(&request.annotations),
            cidrs: &cidrs,
        };
        let offered = wishes.to_json().map_err(|bad| refused(bad.into()))?;
        Ok((args, offered))
    }
}

/// The words that Kubernetes runtimes put into `CNI_ARGS`. `IgnoreUnknown` lets plugins that are
/// strict about their arguments pass over them.
fn arguments(pod: &SandboxId, request: &AttachRequest) -> Result<String, RequestProblem> {
    let mut words = String::from("IgnoreUnknown=1");
    for (key, value) in [
        ("K8S_POD_NAMESPACE", request.namespace.as_str()),
        ("K8S_POD_NAME", &request.name),
        ("K8S_POD_INFRA_CONTAINER_ID", pod.as_str()),
        ("K8S_POD_UID", &request.uid),
    ] {
        if value.contains([';', '=', '\0']) {
            return Err(RequestProblem::Separator { key, value: value.to_owned() });
        }
        words.push_str(&format!(";{key}={value}"));
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_smuggle_in_another_argument() {
        let pod = SandboxId::new("p1").unwrap();
        let mut request =
            AttachRequest { name: "web".into(), namespace: "shop".into(), ..Default::default() };
        let expected = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;\
             K8S_POD_INFRA_CONTAINER_ID=p1;K8S_POD_UID=";
        assert_eq!(arguments(&pod, &request).unwrap(), expected);
        request.name = "web;IP=10.0.0.1".into();
        let text = arguments(&pod, &request).unwrap_err().to_string();
        assert!(text.contains("K8S_POD_NAME \"web;IP=10.0.0.1\""), "{text}");
    }
}
