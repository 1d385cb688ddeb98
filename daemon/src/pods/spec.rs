// SPDX-License-Identifier: Apache-2.0
//! What a client asked a pod sandbox to be, in the domain's own terms. Kept in the pod's record
//! and echoed back in status and lists.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use crisp_words::ContainerId;
use serde::{Deserialize, Serialize};

/// Labels or annotations: returned byte for byte as they came.
pub type Pairs = BTreeMap<String, String>;

/// A pod sandbox as requested. CRI's `PodSandboxConfig` after validation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PodConfig {
    /// What identifies the sandbox among all others of the node.
    pub metadata: PodMetadata,
    /// Host name of the pod's UTS namespace; empty for the sandbox's id, or the host's own with
    /// host networking.
    pub hostname: String,
    /// Absolute directory of the pod's logs, or empty.
    pub log_directory: PathBuf,
    /// DNS settings; `None` for a copy of the host's.
    pub dns: Option<DnsConfig>,
    /// Ports published on the host.
    pub port_mappings: Vec<PortMapping>,
    /// Labels.
    pub labels: Pairs,
    /// Annotations.
    pub annotations: Pairs,
    /// cgroup parent as the kubelet names it (`/kubepods/...` or `/kubepods.slice/...`); empty
    /// for one of crisp's own.
    pub cgroup_parent: String,
    /// Sysctls of the pod's namespaces.
    pub sysctls: Pairs,
    /// Namespaces.
    pub namespaces: Namespaces,
    /// Whether privileged containers may join the pod.
    pub privilege: Privilege,
    /// Seccomp profile of the sandbox itself.
    pub seccomp: SecurityProfile,
    /// SELinux label of the pod.
    pub selinux: Option<SelinuxLabel>,
    /// Supplemental groups of the sandbox's own process.
    pub supplemental_groups: Vec<u32>,
    /// What the pod costs beyond its containers.
    pub overhead: Option<Resources>,
    /// Sum of the containers' resources.
    pub resources: Option<Resources>,
}

/// CRI's `PodSandboxMetadata`: the tuple that no two sandboxes share.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct PodMetadata {
    /// Pod name.
    pub name: String,
    /// Pod uid.
    pub uid: String,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Number of the attempt to make this sandbox.
    pub attempt: u32,
}

/// Contents of the pod's resolv.conf.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DnsConfig {
    /// Name servers.
    pub servers: Vec<String>,
    /// Search domains.
    pub searches: Vec<String>,
    /// Resolver options.
    pub options: Vec<String>,
}

/// One published port. `host_port` 0 (no host port) is dropped in translation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port in the pod.
    pub container_port: u16,
    /// Port on the host; 0 when the port is not published.
    pub host_port: u16,
    /// Host address to listen on; `None` for all.
    pub host_ip: Option<IpAddr>,
}

/// Transport protocol of a port mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// Whether something runs with the daemon's own powers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Privilege {
    /// Confined.
    #[default]
    Confined,
    /// Every capability, device and path the daemon has.
    Privileged,
}

/// Which namespaces are shared with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// Network: the pod's or the node's.
    pub network: Sharing,
    /// IPC: the pod's or the node's.
    pub ipc: Sharing,
    /// Process ids.
    pub pid: PidSharing,
    /// User namespace of the pod; `None` for the node's.
    pub user: Option<UserNamespace>,
}

impl Default for Namespaces {
    /// What CRI's zero values mean: everything is the pod's, the PID namespace shared in it.
    fn default() -> Self {
        Self { network: Sharing::Pod, ipc: Sharing::Pod, pid: PidSharing::Pod, user: None }
    }
}

impl Namespaces {
    /// What a container gets that asks for `wanted` in a pod with these: "the pod's" is the
    /// node's in a pod that has none of its own. Clients leave out what the pod says already.
    #[must_use]
    pub fn for_container(&self, wanted: &Self) -> Self {
        let mut given = wanted.clone();
        if self.network == Sharing::Node {
            given.network = Sharing::Node;
        }
        if self.ipc == Sharing::Node {
            given.ipc = Sharing::Node;
        }
        if self.pid == PidSharing::Node && wanted.pid == PidSharing::Pod {
            given.pid = PidSharing::Node;
        }
        given
    }
}

/// A namespace that belongs to the pod or is the node's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sharing {
    /// Shared by the containers of the pod.
    Pod,
    /// The node's.
    Node,
}

/// Who sees whose processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PidSharing {
    /// One namespace for the pod.
    Pod,
    /// One for each container.
    Container,
    /// The node's.
    Node,
    /// That of another container of the pod (ephemeral containers).
    Target(ContainerId),
}

/// Id mappings of a pod's user namespace. Exactly one range of each kind; container id 0 mapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserNamespace {
    /// User ids.
    pub uids: IdMapping,
    /// Group ids.
    pub gids: IdMapping,
}

/// A range of ids inside a namespace and where it lies on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    /// First id on the host.
    pub host_id: u32,
    /// First id in the container.
    pub container_id: u32,
    /// Count of ids.
    pub length: u32,
}

/// A seccomp or AppArmor profile.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SecurityProfile {
    /// crisp's default profile.
    RuntimeDefault,
    /// None. A missing message means this.
    #[default]
    Unconfined,
    /// Seccomp: absolute path of a file. AppArmor: name of a loaded profile.
    Localhost(String),
}

/// SELinux label parts; an empty part is filled in by the host's policy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SelinuxLabel {
    /// User part.
    pub user: String,
    /// Role part.
    pub role: String,
    /// Type part.
    pub kind: String,
    /// Level part (MCS categories).
    pub level: String,
}

/// CRI's `LinuxContainerResources`. 0 and empty mean "not set".
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Resources {
    /// CFS period, microseconds.
    pub cpu_period: i64,
    /// CFS quota, microseconds a period; negative for none.
    pub cpu_quota: i64,
    /// CPU shares in cgroup v1 terms.
    pub cpu_shares: i64,
    /// Memory limit, bytes.
    pub memory_limit: i64,
    /// Memory plus swap limit, bytes.
    pub memory_swap_limit: i64,
    /// OOM score adjustment, -1000 to 1000.
    pub oom_score_adj: i64,
    /// CPUs, cpuset list format.
    pub cpuset_cpus: String,
    /// Memory nodes, cpuset list format.
    pub cpuset_mems: String,
    /// Huge page limits: size such as `2MB`, bytes.
    pub hugepages: Vec<(String, u64)>,
    /// cgroup v2 files and their values; these win over the fields above.
    pub unified: Pairs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_pods_is_the_nodes_in_a_pod_on_the_node() {
        let node = Namespaces {
            network: Sharing::Node,
            ipc: Sharing::Node,
            pid: PidSharing::Node,
            user: None,
        };
        let own = Namespaces::default();
        assert_eq!(node.for_container(&own), node);
        assert_eq!(own.for_container(&own), own);
        assert_eq!(own.for_container(&node), node);
        let alone = Namespaces { pid: PidSharing::Container, ..own };
        assert_eq!(node.for_container(&alone).pid, PidSharing::Container);
    }
}
