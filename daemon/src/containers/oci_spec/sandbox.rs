// SPDX-License-Identifier: Apache-2.0
//! The spec of a sandbox container: the container that shims of others want to hold a pod's
//! namespaces, or to be the virtual machine itself. It is made like any container, of a request
//! that nobody sent: to run nothing but the program that waits.

use std::path::{Path, PathBuf};

use crisp_words::SandboxId;
use oci_spec::runtime::Spec;

use super::{
    HandlerPolicy, ImageDefaults, NamespacePaths, PodFiles, PodNamespaces, RuntimeAbilities,
    SeccompChoice, SpecError, SpecInput, annotations, generate,
};
use crate::{
    containers::{
        cdi::CdiEdits,
        host::HostFacts,
        spec::{ContainerConfig, RootfsAccess, SecurityContext},
        users::ResolvedUser,
    },
    pods::spec::{Pairs, PodConfig, Privilege, Resources},
};

/// Where the program is in the sandbox container.
pub const PROGRAM: &str = "/pause";
/// The least CPU weight there is: the program sleeps.
const SHARES: i64 = 2;
/// The last to be killed for memory but for the shims: its end is the pod's.
const OOM_SCORE_ADJ: i64 = -998;

/// All that a sandbox container's spec is made from.
#[derive(Debug, Clone)]
pub struct SandboxInput<'a> {
    /// The pod as requested.
    pub pod: &'a PodConfig,
    /// The pod's id, and the container's.
    pub pod_id: &'a SandboxId,
    /// The host.
    pub host: &'a HostFacts,
    /// The runtime behind the shim.
    pub runtime: &'a RuntimeAbilities,
    /// What the operator chose for the handler.
    pub policy: &'a HandlerPolicy,
    /// The namespaces that are made already; the others are made with the container.
    pub made: NamespacePaths,
    /// Host name of the pod.
    pub hostname: &'a str,
    /// Files of the pod.
    pub pod_files: &'a PodFiles,
    /// Root filesystem of the container.
    pub rootfs: &'a Path,
    /// Its cgroup in the form the cgroup driver wants.
    pub cgroups_path: &'a str,
    /// Its seccomp profile.
    pub seccomp: &'a SeccompChoice,
    /// Annotations that the handler passes on to its shim.
    pub handler_annotations: &'a Pairs,
}

/// Makes the spec of a sandbox container.
///
/// # Errors
/// As [`generate`].
pub fn generate_sandbox(input: &SandboxInput<'_>) -> Result<Spec, SpecError> {
    let container = request(input.pod);
    let full = SpecInput {
        pod: input.pod,
        pod_id: input.pod_id,
        container: &container,
        image: &ImageDefaults::default(),
        user: &ResolvedUser { uid: 0, gid: 0, groups: input.pod.supplemental_groups.clone() },
        host: input.host,
        runtime: input.runtime,
        policy: input.policy,
        namespaces: &PodNamespaces::Begun(input.made.clone()),
        target_pid_namespace: None,
        hostname: input.hostname,
        pod_files: input.pod_files,
        rootfs: input.rootfs,
        cgroups_path: input.cgroups_path,
        mounts: &[],
        devices: &[],
        host_devices: &[],
        cdi: &CdiEdits::default(),
        seccomp: input.seccomp,
        apparmor: None,
        handler_annotations: input.handler_annotations,
    };
    let mut spec = generate(&full)?;
    spec.set_annotations(Some(annotations::of_sandbox(&full)));
    // The program looks at none of them. sysfs would even harm: there is one for all containers
    // of a network namespace, and whoever mounts it first makes it read-only for all.
    let mounts = spec.mounts().iter().flatten().filter(|m| !m.destination().starts_with("/sys"));
    let mounts = mounts.cloned().collect();
    spec.set_mounts(Some(mounts));
    if let Some(linux) = spec.linux_mut() {
        let sysctls = input.pod.sysctls.clone().into_iter().collect();
        linux.set_sysctl(
            Some(sysctls).filter(|all: &std::collections::HashMap<_, _>| !all.is_empty()),
        );
    }
    Ok(spec)
}

/// What a kubelet would ask for if it asked for sandbox containers.
fn request(pod: &PodConfig) -> ContainerConfig {
    ContainerConfig {
        command: vec![PROGRAM.to_owned()],
        resources: Resources {
            cpu_shares: SHARES,
            oom_score_adj: OOM_SCORE_ADJ,
            ..Resources::default()
        },
        security: SecurityContext {
            // A privileged pod's sandbox needs no powers.
            privilege: Privilege::Confined,
            namespaces: pod.namespaces.clone(),
            rootfs: RootfsAccess::ReadOnly,
            masked_paths: MASKED.map(str::to_owned).to_vec(),
            readonly_paths: READ_ONLY.map(str::to_owned).to_vec(),
            ..SecurityContext::default()
        },
        ..ContainerConfig::default()
    }
}

/// What every container engine hides.
const MASKED: [&str; 7] = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/sys/firmware",
];
/// What every container engine keeps from being written.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Places in the root filesystem on which something is mounted. They are made with it: it may be
/// read-only to the runtime that mounts.
#[must_use]
pub fn mount_points() -> [PathBuf; 4] {
    ["dev", "proc", "sys", "etc"].map(PathBuf::from)
}
