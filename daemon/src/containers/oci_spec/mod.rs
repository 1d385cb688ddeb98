// SPDX-License-Identifier: Apache-2.0
//! A container's OCI spec: a pure function of the request, the image and the host. What has to be
//! looked up (users, devices, mount sources, profiles) is looked up before, by the neighbours of
//! this folder.

use oci_spec::runtime::{Hook, Hooks, Linux, LinuxSeccomp, Root, Spec};

use super::{
    cdi::{CdiHook, HookStage},
    resources,
    spec::RootfsAccess,
};

mod annotations;
mod capabilities;
mod devices;
mod error;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod golden;
mod input;
mod labels;
mod mounts;
mod namespaces;
mod process;
#[cfg(test)]
mod real_runtimes;
#[cfg(test)]
mod refusals;
mod sandbox;
pub mod seccomp;
mod version;

pub use error::{SpecError, SpecErrorKind};
pub use input::{
    HandlerPolicy, ImageDefaults, NamespacePaths, PodFiles, PodNamespaces, ResolvedMount,
    RuntimeAbilities, SeccompChoice, SpecInput,
};
pub use process::exec_process;
pub use sandbox::{PROGRAM, SandboxInput, generate_sandbox, mount_points};
pub use seccomp::SeccompArches;

use crate::pods::spec::Privilege;

/// Makes the spec of a container.
///
/// # Errors
/// [`SpecError`] names what of the request cannot be; [`SpecError::kind`] tells whose fault it is.
pub fn generate(input: &SpecInput<'_>) -> Result<Spec, SpecError> {
    if input.is_privileged() && input.pod.privilege == Privilege::Confined {
        return Err(SpecError::PodNotPrivileged);
    }
    let granted = capabilities::grant(input)?;
    let mounts = mounts::mounts(input)?;
    let mut spec = Spec::default();
    spec.set_version(version::oci_version(input.runtime.oci_version_max.as_deref()).to_owned())
        .set_root(Some(root(input)))
        .set_process(Some(process::process(input, &granted)?))
        .set_hostname(hostname(input))
        .set_annotations(Some(annotations::of_container(input)))
        .set_hooks(hooks(&input.cdi.hooks))
        .set_linux(Some(linux(input, &granted, mounts.rootfs_propagation)?))
        .set_mounts(Some(mounts.list));
    Ok(spec)
}

fn root(input: &SpecInput<'_>) -> Root {
    let mut root = Root::default();
    root.set_path(input.rootfs.to_owned());
    root.set_readonly(Some(input.container.security.rootfs == RootfsAccess::ReadOnly));
    root
}

/// The pod's UTS namespace has its name already; only a shim that makes the namespace itself has
/// to be told.
fn hostname(input: &SpecInput<'_>) -> Option<String> {
    let shim_names_it = match input.namespaces {
        PodNamespaces::Pinned(_) => false,
        PodNamespaces::KnownToShim | PodNamespaces::Begun(_) => !input.has_host_network(),
    };
    (shim_names_it && !input.hostname.is_empty()).then(|| input.hostname.to_owned())
}

fn linux(
    input: &SpecInput<'_>,
    granted: &capabilities::Granted,
    rootfs_propagation: Option<&'static str>,
) -> Result<Linux, SpecError> {
    let security = &input.container.security;
    let unmasked = input.is_privileged();
    let paths = |list: &[String]| Some(if unmasked { Vec::new() } else { list.to_vec() });
    let mut readonly = security.readonly_paths.clone();
    readonly.extend(mounts::v1_hierarchies(input));
    let user = input.pod.namespaces.user.as_ref();
    let mapping = |one| namespaces::id_mapping(one).map(|one| vec![one]);
    let mut resources = resources::to_linux(&input.container.resources, input.host)?;
    resources.set_devices(Some(devices::rules(input)));
    let mut linux = Linux::default();
    linux
        .set_uid_mappings(user.map(|user| mapping(&user.uids)).transpose()?)
        .set_gid_mappings(user.map(|user| mapping(&user.gids)).transpose()?)
        .set_resources(Some(resources))
        .set_cgroups_path(Some(input.cgroups_path.into()))
        .set_namespaces(Some(namespaces::namespaces(input)?))
        .set_devices(Some(devices::nodes(input)))
        .set_seccomp(seccomp(input, granted)?)
        .set_rootfs_propagation(rootfs_propagation.map(str::to_owned))
        .set_masked_paths(paths(&security.masked_paths))
        .set_readonly_paths(paths(&readonly))
        .set_mount_label(labels::mounts(input)?);
    Ok(linux)
}

fn seccomp(
    input: &SpecInput<'_>,
    granted: &capabilities::Granted,
) -> Result<Option<LinuxSeccomp>, SpecError> {
    if input.is_privileged() || matches!(input.seccomp, SeccompChoice::Unconfined) {
        return Ok(None);
    }
    if !input.host.seccomp.is_present() {
        return Err(SpecError::NoSeccomp);
    }
    Ok(Some(match input.seccomp {
        SeccompChoice::Loaded(profile) => (**profile).clone(),
        SeccompChoice::RuntimeDefault | SeccompChoice::Unconfined => seccomp::default_profile(
            &input.host.arch,
            input.policy.seccomp_arches,
            granted.bounding,
        )?,
    }))
}

fn hooks(asked: &[CdiHook]) -> Option<Hooks> {
    if asked.is_empty() {
        return None;
    }
    let of = |stage: HookStage| {
        let list: Vec<Hook> = asked.iter().filter(|h| h.stage == stage).map(hook).collect();
        (!list.is_empty()).then_some(list)
    };
    let mut hooks = Hooks::default();
    hooks
        .set_create_runtime(of(HookStage::CreateRuntime))
        .set_create_container(of(HookStage::CreateContainer))
        .set_start_container(of(HookStage::StartContainer))
        .set_poststart(of(HookStage::Poststart))
        .set_poststop(of(HookStage::Poststop));
    Some(hooks)
}

fn hook(asked: &CdiHook) -> Hook {
    let mut hook = Hook::default();
    hook.set_path(asked.path.clone())
        .set_args(Some(asked.args.clone()).filter(|args| !args.is_empty()))
        .set_env(Some(asked.env.clone()).filter(|env| !env.is_empty()))
        .set_timeout(asked.timeout);
    hook
}
