// SPDX-License-Identifier: Apache-2.0
//! Which namespaces a container is in: its own, the pod's or the host's.

use std::path::{Path, PathBuf};

use oci_spec::{
    OciSpecError,
    runtime::{LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceType},
};

use super::{NamespacePaths, PodNamespaces, SpecError, SpecInput};
use crate::{
    containers::host::CgroupVersion,
    pods::spec::{IdMapping, PidSharing, Sharing},
};

/// A kind that is not in the list stays the host's.
pub(super) fn namespaces(input: &SpecInput<'_>) -> Result<Vec<LinuxNamespace>, SpecError> {
    let wanted = &input.container.security.namespaces;
    let mut list = vec![new(LinuxNamespaceType::Mount)];
    if wanted.network == Sharing::Pod {
        list.push(of_pod(input, LinuxNamespaceType::Network)?);
        list.push(of_pod(input, LinuxNamespaceType::Uts)?);
    }
    if wanted.ipc == Sharing::Pod {
        list.push(of_pod(input, LinuxNamespaceType::Ipc)?);
    }
    match &wanted.pid {
        PidSharing::Node => {}
        PidSharing::Container => list.push(new(LinuxNamespaceType::Pid)),
        PidSharing::Pod => list.push(of_pod(input, LinuxNamespaceType::Pid)?),
        PidSharing::Target(_) => {
            let path = input.target_pid_namespace.ok_or(SpecError::NoNamespace("target PID"))?;
            list.push(at(LinuxNamespaceType::Pid, path));
        }
    }
    if input.has_user_namespace() {
        list.push(of_pod(input, LinuxNamespaceType::User)?);
    }
    if has_own_cgroup_namespace(input) {
        list.push(new(LinuxNamespaceType::Cgroup));
    }
    Ok(list)
}

/// With one hierarchy a container can be shown its own part as the whole. A privileged container
/// manages the host's.
pub(super) fn has_own_cgroup_namespace(input: &SpecInput<'_>) -> bool {
    input.host.cgroup == CgroupVersion::V2 && !input.is_privileged()
}

pub(super) fn id_mapping(mapping: &IdMapping) -> Result<LinuxIdMapping, OciSpecError> {
    LinuxIdMappingBuilder::default()
        .host_id(mapping.host_id)
        .container_id(mapping.container_id)
        .size(mapping.length)
        .build()
}

fn of_pod(input: &SpecInput<'_>, kind: LinuxNamespaceType) -> Result<LinuxNamespace, SpecError> {
    match input.namespaces {
        PodNamespaces::KnownToShim => Ok(new(kind)),
        PodNamespaces::Begun(paths) => {
            let path = pinned(paths, kind).1;
            Ok(path.as_deref().map_or_else(|| new(kind), |path| at(kind, path)))
        }
        PodNamespaces::Pinned(paths) => {
            let (name, path) = pinned(paths, kind);
            path.as_deref().map(|path| at(kind, path)).ok_or(SpecError::NoNamespace(name))
        }
    }
}

fn pinned(paths: &NamespacePaths, kind: LinuxNamespaceType) -> (&'static str, &Option<PathBuf>) {
    match kind {
        LinuxNamespaceType::Network => ("network", &paths.net),
        LinuxNamespaceType::Uts => ("UTS", &paths.uts),
        LinuxNamespaceType::Ipc => ("IPC", &paths.ipc),
        LinuxNamespaceType::Pid => ("PID", &paths.pid),
        LinuxNamespaceType::User => ("user", &paths.user),
        _ => ("such", &None),
    }
}

fn new(kind: LinuxNamespaceType) -> LinuxNamespace {
    let mut namespace = LinuxNamespace::default();
    namespace.set_typ(kind);
    namespace
}

fn at(kind: LinuxNamespaceType, path: &Path) -> LinuxNamespace {
    let mut namespace = new(kind);
    namespace.set_path(Some(path.to_owned()));
    namespace
}
