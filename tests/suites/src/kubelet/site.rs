// SPDX-License-Identifier: Apache-2.0
//! The node that the cases share: crisp, a kubelet on it, and what they tell of the pods.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use crisp_conformance::{cri::Cri, log, want::within};
use crisp_cri::{
    ImageSpec, ListPodSandboxRequest, PodSandbox, PullImageRequest, RemovePodSandboxRequest,
    StopPodSandboxRequest,
};
use serde_json::Value;

use super::{
    Plan,
    daemon::{Kubelet, READ_ONLY},
    http,
    manifest::{AGNHOST, BUSYBOX},
};
use crate::node::Node;

/// Where a kubelet keeps the logs of containers.
const LOGS: &str = "/var/log/pods";
/// The label with a pod's name.
const POD_NAME: &str = "io.kubernetes.pod.name";
/// Longest wait for what the kubelet is to do.
pub const SOON: Duration = Duration::from_secs(90);

/// The node of the cases.
pub struct Site {
    /// crisp.
    pub node: Node,
    /// The kubelet on it.
    pub kubelet: Kubelet,
    /// A client of crisp.
    pub cri: Cri,
    dir: PathBuf,
}

impl Site {
    /// Puts a kubelet on a node whose daemon runs. Gives the node back where that fails.
    pub async fn open(plan: &Plan, node: Node) -> Result<Self, (anyhow::Error, Node)> {
        match Self::parts(plan, &node).await {
            Ok((kubelet, cri, dir)) => Ok(Self { node, kubelet, cri, dir }),
            Err(error) => Err((error, node)),
        }
    }

    async fn parts(plan: &Plan, node: &Node) -> Result<(Kubelet, Cri, PathBuf)> {
        let dir = plan.dir.join("site");
        fs::create_dir_all(&dir)?;
        let dir = fs::canonicalize(dir)?;
        let mut kubelet = Kubelet::new(&plan.kubelet, &dir, &node.dir().join("sock"))?;
        let cri = node.client("").await?.cri.clone();
        // Now, lest cases wait for bytes.
        for image in [BUSYBOX, AGNHOST] {
            let image = Some(ImageSpec { image: image.to_owned(), ..Default::default() });
            cri.pull_image(PullImageRequest { image, ..Default::default() }).await?;
        }
        kubelet.start().await?;
        Ok((kubelet, cri, dir))
    }

    /// A directory of the host for one case.
    pub fn host_dir(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    fn manifest(&self, name: &str) -> PathBuf {
        self.kubelet.manifests().join(format!("{name}.json"))
    }

    /// Has the kubelet run a pod.
    pub fn apply(&self, pod: &Value) -> Result<Running<'_>> {
        let name = pod["metadata"]["name"].as_str().context("a pod without a name")?;
        let path = self.manifest(name);
        // The kubelet reads whatever it sees in its directory, also half a file.
        let half = self.dir.join(format!("{name}.half"));
        fs::write(&half, serde_json::to_vec_pretty(pod)?)?;
        fs::rename(&half, &path)?;
        Ok(Running { site: self, name: name.to_owned() })
    }

    /// Waits until the pods of a case that disturbed the node are gone.
    pub async fn settle(&mut self) -> Result<()> {
        for entry in fs::read_dir(self.kubelet.manifests())? {
            fs::remove_file(entry?.path())?;
        }
        self.none_ready(|_| true).await
    }

    /// Waits until none of the pods is ready in crisp's eyes.
    async fn none_ready(&self, of: impl Fn(&PodSandbox) -> bool) -> Result<()> {
        let of = &of;
        within(SOON, "no pod is ready", || async {
            let pods = self.cri.list_pod_sandbox(ListPodSandboxRequest::default()).await?.items;
            let ready = pods.into_iter().filter(|pod| pod.state == 0 && of(pod));
            let ready: Vec<_> = ready.map(|pod| pod.metadata).collect();
            Ok(if ready.is_empty() { Ok(()) } else { Err(format!("{ready:?}")) })
        })
        .await
    }

    /// Removes what the kubelet keeps until its next garbage collection.
    pub async fn remove_rest(&self) -> Result<()> {
        let pods = self.cri.list_pod_sandbox(ListPodSandboxRequest::default()).await?.items;
        for pod in pods {
            let stop = StopPodSandboxRequest { pod_sandbox_id: pod.id.clone() };
            self.cri.stop_pod_sandbox(stop).await?;
            self.cri.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: pod.id }).await?;
        }
        Ok(())
    }
}

/// A pod that the kubelet was given.
pub struct Running<'a> {
    site: &'a Site,
    name: String,
}

impl Running<'_> {
    /// What the kubelet says of it now, if it knows it.
    pub async fn seen(&self) -> Result<Option<Value>> {
        let Ok(body) = http::get(READ_ONLY, "/pods").await else { return Ok(None) };
        let mut list: Value = serde_json::from_str(&body)?;
        let name = format!("{}-node", self.name);
        let pods = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
        Ok(pods.into_iter().find(|pod| pod["metadata"]["name"] == name.as_str()))
    }

    /// Waits until the kubelet's word of the pod satisfies `holds`; gives that word.
    pub async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let holds = &holds;
        within(SOON, &format!("pod {}: {what}", self.name), || async {
            let Some(pod) = self.seen().await? else { return Ok(Err("nothing".to_owned())) };
            Ok(if holds(&pod) { Ok(pod) } else { Err(pod["status"].to_string()) })
        })
        .await
    }

    /// Waits until the pod has a phase.
    pub async fn phase(&self, phase: &str) -> Result<Value> {
        self.until(&format!("phase {phase}"), |pod| pod["status"]["phase"] == phase).await
    }

    /// Waits until the pod is ready.
    pub async fn ready(&self) -> Result<Value> {
        self.until("ready", is_ready).await
    }

    /// Takes the pod away and waits until the kubelet has ended it.
    pub async fn remove(&self) -> Result<()> {
        fs::remove_file(self.site.manifest(&self.name))?;
        let name = format!("{}-node", self.name);
        self.site.none_ready(|pod| pod.labels.get(POD_NAME) == Some(&name)).await?;
        within(SOON, &format!("pod {} is gone", self.name), || async {
            let seen = self.seen().await?;
            Ok(seen.map_or(Ok(()), |pod| Err(pod["status"].to_string())))
        })
        .await
    }

    /// Where the log of a container's `attempt` is.
    pub fn log_file(&self, container: &str, attempt: u32) -> Result<PathBuf> {
        let wanted = format!("default_{}-node_", self.name);
        for entry in fs::read_dir(LOGS)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&wanted) {
                return Ok(entry.path().join(container).join(format!("{attempt}.log")));
            }
        }
        anyhow::bail!("no directory {LOGS}/{wanted}*")
    }

    /// The lines of stdout of a container's first attempt.
    pub fn out(&self, container: &str) -> Result<Vec<String>> {
        lines_of(&self.log_file(container, 0)?)
    }

    /// Waits until a container's first attempt has written a line.
    pub async fn wrote(&self, container: &str, text: &str) -> Result<Vec<String>> {
        within(SOON, &format!("pod {}: {container} writes {text:?}", self.name), || async {
            let lines = self.out(container).unwrap_or_default();
            let found = lines.iter().any(|line| line.contains(text));
            Ok(if found { Ok(lines) } else { Err(format!("{lines:?}")) })
        })
        .await
    }
}

/// The lines of stdout in a log file.
pub fn lines_of(path: &Path) -> Result<Vec<String>> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    Ok(log::text(&log::parse(&bytes)?, "stdout"))
}

/// Whether the kubelet calls a pod ready.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

/// The status of a container, initial ones included.
pub fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let all = ["containerStatuses", "initContainerStatuses"];
    let mut all = all.iter().filter_map(|list| pod["status"][list].as_array()).flatten();
    all.find(|status| status["name"] == name).unwrap_or(&Value::Null)
}

/// What a case compares before and after: id and restart count of a container.
pub fn identity(pod: &Value, name: &str) -> Result<(String, u64)> {
    let status = container(pod, name);
    let id = status["containerID"].as_str().with_context(|| format!("no id in {status}"))?;
    let restarts = status["restartCount"].as_u64();
    ensure!(restarts.is_some(), "no restart count in {status}");
    Ok((id.to_owned(), restarts.unwrap_or_default()))
}
