// SPDX-License-Identifier: Apache-2.0
//! A container request to begin tests with: what a kubelet sends for a small pod.

use std::path::PathBuf;

use crisp_words::SandboxId;
use oci_spec::runtime::Spec;
use serde_json::Value;

use super::{
    HandlerPolicy, ImageDefaults, NamespacePaths, PodFiles, PodNamespaces, ResolvedMount,
    RuntimeAbilities, SeccompChoice, SpecError, SpecInput, generate,
};
use crate::{
    containers::{
        capabilities::CapabilitySet,
        cdi::CdiEdits,
        devices::ResolvedDevice,
        host::{CgroupVersion, HostFacts, Support},
        spec::{ContainerConfig, ContainerMetadata, ImageRequest, Mount, MountSource},
        users::ResolvedUser,
    },
    pods::spec::{IdMapping, Pairs, PidSharing, PodConfig, PodMetadata, Privilege, UserNamespace},
};

pub(super) struct Case {
    pub(super) pod: PodConfig,
    pub(super) container: ContainerConfig,
    pub(super) image: ImageDefaults,
    pub(super) user: ResolvedUser,
    pub(super) host: HostFacts,
    pub(super) runtime: RuntimeAbilities,
    pub(super) policy: HandlerPolicy,
    pub(super) namespaces: PodNamespaces,
    pub(super) target: Option<PathBuf>,
    pub(super) hostname: String,
    pub(super) pod_files: PodFiles,
    pub(super) rootfs: PathBuf,
    pub(super) cgroups_path: String,
    pub(super) devices: Vec<ResolvedDevice>,
    pub(super) host_devices: Vec<ResolvedDevice>,
    pub(super) cdi: CdiEdits,
    pub(super) seccomp: SeccompChoice,
    pub(super) apparmor: Option<String>,
    pub(super) handler_annotations: Pairs,
}

impl Case {
    pub(super) fn plain() -> Self {
        let mut container = ContainerConfig {
            metadata: ContainerMetadata { name: "web".into(), attempt: 0 },
            image: ImageRequest { image: "sha256:abc".into(), ..ImageRequest::default() },
            ..ContainerConfig::default()
        };
        container.security.namespaces.pid = PidSharing::Container;
        container.security.masked_paths = vec!["/proc/kcore".into(), "/proc/keys".into()];
        container.security.readonly_paths = vec!["/proc/sys".into()];
        Self {
            pod: PodConfig {
                metadata: PodMetadata {
                    name: "shop".into(),
                    uid: "0001".into(),
                    namespace: "default".into(),
                    attempt: 0,
                },
                hostname: "shop".into(),
                ..PodConfig::default()
            },
            container,
            image: ImageDefaults {
                entrypoint: vec!["/bin/web".into()],
                cmd: vec!["--serve".into()],
                env: vec!["PATH=/bin".into(), "LANG=C".into()],
                working_dir: "/srv".into(),
                ..ImageDefaults::default()
            },
            user: ResolvedUser { uid: 0, gid: 0, groups: vec![0] },
            host: host(),
            runtime: RuntimeAbilities {
                handler: "crun".into(),
                oci_version_max: Some("1.1.0".into()),
                recursive_read_only: Support::Present,
                idmap_mounts: Support::Present,
            },
            policy: HandlerPolicy::default(),
            namespaces: PodNamespaces::Pinned(pinned()),
            target: None,
            hostname: "shop".into(),
            pod_files: PodFiles {
                resolv_conf: Some("/run/crisp/pods/p/resolv.conf".into()),
                hostname: Some("/run/crisp/pods/p/hostname".into()),
                hosts: Some("/run/crisp/pods/p/hosts".into()),
                shm: Some("/run/crisp/pods/p/shm".into()),
            },
            rootfs: "/run/crisp/bundles/c/rootfs".into(),
            cgroups_path: "/kubepods/pod0001/crisp-c".into(),
            devices: Vec::new(),
            host_devices: Vec::new(),
            cdi: CdiEdits::default(),
            seccomp: SeccompChoice::Unconfined,
            apparmor: None,
            handler_annotations: Pairs::new(),
        }
    }

    pub(super) fn privileged(mut self) -> Self {
        self.pod.privilege = Privilege::Privileged;
        self.container.security.privilege = Privilege::Privileged;
        self
    }

    pub(super) fn with_user_namespace(mut self) -> Self {
        let ids = IdMapping { host_id: 65536, container_id: 0, length: 65536 };
        let user = Some(UserNamespace { uids: ids, gids: ids });
        self.pod.namespaces.user.clone_from(&user);
        self.container.security.namespaces.user = user;
        self
    }

    pub(super) fn with_mount(mut self, source: &str, target: &str) -> Self {
        self.container.mounts.push(Mount {
            container_path: target.into(),
            source: MountSource::Host(source.into()),
            ..Mount::default()
        });
        self
    }

    pub(super) fn last_mount(&mut self) -> &mut Mount {
        self.container.mounts.last_mut().unwrap()
    }

    pub(super) fn generate(&self) -> Result<Spec, SpecError> {
        let mounts: Vec<ResolvedMount<'_>> = self
            .container
            .mounts
            .iter()
            .map(|request| ResolvedMount {
                request,
                source: match &request.source {
                    MountSource::Host(path) => path.clone(),
                    MountSource::Image { .. } => "/run/crisp/images/i".into(),
                },
            })
            .collect();
        generate(&SpecInput {
            pod: &self.pod,
            pod_id: &SandboxId::new("p").unwrap(),
            container: &self.container,
            image: &self.image,
            user: &self.user,
            host: &self.host,
            runtime: &self.runtime,
            policy: &self.policy,
            namespaces: &self.namespaces,
            target_pid_namespace: self.target.as_deref(),
            hostname: &self.hostname,
            pod_files: &self.pod_files,
            rootfs: &self.rootfs,
            cgroups_path: &self.cgroups_path,
            mounts: &mounts,
            devices: &self.devices,
            host_devices: &self.host_devices,
            cdi: &self.cdi,
            seccomp: &self.seccomp,
            apparmor: self.apparmor.as_deref(),
            handler_annotations: &self.handler_annotations,
        })
    }

    /// The spec as JSON with its sets in a fixed order.
    pub(super) fn json(&self) -> Value {
        let mut json = serde_json::to_value(self.generate().unwrap()).unwrap();
        let sets = json["process"]["capabilities"].as_object_mut().unwrap();
        for set in sets.values_mut().filter_map(Value::as_array_mut) {
            set.sort_by_key(|name| name.as_str().map(str::to_owned));
        }
        json
    }
}

fn host() -> HostFacts {
    HostFacts {
        cgroup: CgroupVersion::V2,
        capabilities: CapabilitySet::known(),
        oom_score_adj_floor: -1000,
        arch: "x86_64".into(),
        seccomp: Support::Present,
        apparmor: Support::Absent,
        selinux: Support::Absent,
        swap_accounting: Support::Present,
        hugetlb: Support::Present,
        hugepage_sizes: vec!["2MB".into(), "1GB".into()],
    }
}

fn pinned() -> NamespacePaths {
    let at = |kind: &str| Some(PathBuf::from(format!("/run/crisp/pods/p/ns/{kind}")));
    NamespacePaths {
        net: at("net"),
        ipc: at("ipc"),
        uts: at("uts"),
        pid: at("pid"),
        user: at("user"),
    }
}
