// SPDX-License-Identifier: Apache-2.0
//! Mounts that were asked for: the request's and those of its CDI devices.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxIdMapping, Mount};

use super::{SpecError, SpecInput, mount, normal_target};
use crate::containers::{
    cdi::CdiMount,
    oci_spec::{ResolvedMount, namespaces::id_mapping},
    spec::{MountAccess, MountSource, Propagation},
};

pub(super) fn mounts(input: &SpecInput<'_>) -> Result<Vec<Mount>, SpecError> {
    let from_request = input.mounts.iter().map(|resolved| requested(input, resolved));
    let from_cdi = input.cdi.mounts.iter().map(cdi);
    from_request.chain(from_cdi).collect()
}

fn requested(input: &SpecInput<'_>, resolved: &ResolvedMount<'_>) -> Result<Mount, SpecError> {
    let request = resolved.request;
    let target = target(&request.container_path)?;
    let mut options = vec!["rbind", propagation(request.propagation)];
    options.push(match &request.source {
        MountSource::Host(_) => access(input, resolved)?,
        MountSource::Image { .. } => image_access(resolved)?,
    });
    for option in &request.options {
        options.push(known_option(option).ok_or_else(|| SpecError::MountOption {
            target: target.clone(),
            option: option.clone(),
        })?);
    }
    let mut oci = mount("bind", resolved.source.as_path(), &target, &options);
    if let Some((uids, gids)) = id_mappings(input, resolved)? {
        oci.set_uid_mappings(Some(uids));
        oci.set_gid_mappings(Some(gids));
    }
    Ok(oci)
}

fn cdi(asked: &CdiMount) -> Result<Mount, SpecError> {
    let target = target(&asked.container_path)?;
    let options: Vec<&str> = asked.options.iter().map(String::as_str).collect();
    Ok(mount("bind", asked.host_path.as_path(), &target, &options))
}

fn target(path: &Path) -> Result<PathBuf, SpecError> {
    normal_target(path).ok_or_else(|| SpecError::MountTarget(path.to_owned()))
}

fn propagation(wanted: Propagation) -> &'static str {
    match wanted {
        Propagation::Private => "rprivate",
        Propagation::HostToContainer => "rslave",
        Propagation::Bidirectional => "rshared",
    }
}

fn access(input: &SpecInput<'_>, resolved: &ResolvedMount<'_>) -> Result<&'static str, SpecError> {
    let request = resolved.request;
    match request.access {
        MountAccess::ReadWrite => Ok("rw"),
        MountAccess::ReadOnly => Ok("ro"),
        MountAccess::RecursiveReadOnly if request.propagation != Propagation::Private => {
            Err(SpecError::RecursiveReadOnlyPropagates(request.container_path.clone()))
        }
        MountAccess::RecursiveReadOnly if input.runtime.recursive_read_only.is_present() => {
            Ok("rro")
        }
        MountAccess::RecursiveReadOnly => Err(SpecError::RecursiveReadOnlyUnsupported {
            target: request.container_path.clone(),
            handler: input.runtime.handler.clone(),
        }),
    }
}

/// The source of an image volume is one mount, so `ro` covers all of it.
fn image_access(resolved: &ResolvedMount<'_>) -> Result<&'static str, SpecError> {
    let request = resolved.request;
    if request.access == MountAccess::ReadWrite || request.propagation != Propagation::Private {
        return Err(SpecError::ImageVolume(request.container_path.clone()));
    }
    Ok("ro")
}

fn known_option(option: &str) -> Option<&'static str> {
    ["noexec", "nodev", "nosuid"].into_iter().find(|known| *known == option)
}

type Mappings = (Vec<LinuxIdMapping>, Vec<LinuxIdMapping>);

/// Image layers are mapped where the image is mounted, not here.
fn id_mappings(
    input: &SpecInput<'_>,
    resolved: &ResolvedMount<'_>,
) -> Result<Option<Mappings>, SpecError> {
    let request = resolved.request;
    match (request.uid_mappings.as_slice(), request.gid_mappings.as_slice()) {
        ([], []) => Ok(None),
        (_, []) | ([], _) => Err(SpecError::IdMapIncomplete(request.container_path.clone())),
        _ if !input.runtime.idmap_mounts.is_present() => Err(SpecError::IdMapUnsupported {
            target: request.container_path.clone(),
            handler: input.runtime.handler.clone(),
        }),
        (uids, gids) => {
            let oci = |all: &[_]| all.iter().map(id_mapping).collect::<Result<_, _>>();
            Ok(Some((oci(uids)?, oci(gids)?)))
        }
    }
}
