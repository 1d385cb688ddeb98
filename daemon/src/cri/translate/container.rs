// SPDX-License-Identifier: Apache-2.0

use std::path::{Component, Path};

use crisp_cri as v1;

use super::{
    mount::{mount, mount_to_cri},
    namespaces::{Owner, namespaces, namespaces_to_cri},
    pod::privilege,
    profile::{apparmor, profile_to_cri, seccomp, selinux, selinux_to_cri},
    resources::{resources, resources_to_cri},
    scalars::{Invalid, absolute, no_nul, pairs, path_text, to_map},
    signal::{signal, signal_to_cri},
    user::{groups, groups_policy, groups_policy_to_cri, int64, run_as},
};
use crate::{
    containers::spec::{
        ContainerConfig, ContainerMetadata, Device, ImageRequest, NewPrivileges, RootfsAccess,
        RunAs, SecurityContext, Stdin, Terminal,
    },
    pods::spec::Privilege,
};

/// A container, from the wire.
///
/// # Errors
/// [`Invalid`] names the field; paths begin with `config`.
pub fn container_config(config: Option<v1::ContainerConfig>) -> Result<ContainerConfig, Invalid> {
    let config = config.ok_or_else(|| Invalid::new("config", "is missing"))?;
    let linux = config.linux.unwrap_or_default();
    for (field, words) in [("config.command", &config.command), ("config.args", &config.args)] {
        words.iter().try_for_each(|word| no_nul(field, word.as_bytes()))?;
    }
    no_nul("config.working_dir", config.working_dir.as_bytes())?;
    Ok(ContainerConfig {
        metadata: metadata(config.metadata)?,
        image: image("config.image", config.image)?,
        command: config.command,
        args: config.args,
        working_dir: config.working_dir,
        envs: config.envs.into_iter().map(env).collect::<Result<_, _>>()?,
        mounts: each("config.mounts", config.mounts, mount)?,
        devices: each("config.devices", config.devices, device)?,
        cdi_devices: config.cdi_devices.into_iter().map(|d| d.name).collect(),
        labels: pairs(config.labels),
        annotations: pairs(config.annotations),
        log_path: log_path(config.log_path)?,
        stdin: match (config.stdin, config.stdin_once) {
            (false, _) => Stdin::Null,
            (true, false) => Stdin::Open,
            (true, true) => Stdin::Once,
        },
        terminal: if config.tty { Terminal::Tty } else { Terminal::None },
        resources: resources(linux.resources.unwrap_or_default()),
        security: security(linux.security_context.unwrap_or_default())?,
        stop_signal: signal("config.stop_signal", config.stop_signal)?,
    })
}

fn each<T, U>(
    at: &str,
    items: Vec<T>,
    translate: impl Fn(&str, T) -> Result<U, Invalid>,
) -> Result<Vec<U>, Invalid> {
    items.into_iter().enumerate().map(|(n, item)| translate(&format!("{at}[{n}]"), item)).collect()
}

fn metadata(metadata: Option<v1::ContainerMetadata>) -> Result<ContainerMetadata, Invalid> {
    match metadata {
        Some(v1::ContainerMetadata { name, attempt }) if !name.is_empty() => {
            Ok(ContainerMetadata { name, attempt })
        }
        Some(_) => Err(Invalid::new("config.metadata.name", "is empty")),
        None => Err(Invalid::new("config.metadata", "is missing")),
    }
}

/// An image to run or to mount, from the wire.
pub(super) fn image(at: &str, spec: Option<v1::ImageSpec>) -> Result<ImageRequest, Invalid> {
    match spec {
        Some(spec) if !spec.image.is_empty() => Ok(ImageRequest {
            image: spec.image,
            annotations: pairs(spec.annotations),
            user_specified_image: spec.user_specified_image,
            runtime_handler: spec.runtime_handler,
        }),
        Some(_) => Err(Invalid::new(format!("{at}.image"), "is empty")),
        None => Err(Invalid::new(at, "is missing")),
    }
}

fn env(variable: v1::KeyValue) -> Result<(String, Vec<u8>), Invalid> {
    let v1::KeyValue { key, value } = variable;
    let field = format!("config.envs[{key:?}]");
    if key.is_empty() || key.contains('=') {
        return Err(Invalid::new(field, "is no name of a variable"));
    }
    no_nul(&field, key.as_bytes())?;
    no_nul(&field, &value)?;
    Ok((key, value))
}

fn device(at: &str, device: v1::Device) -> Result<Device, Invalid> {
    let v1::Device { container_path, host_path, permissions } = device;
    if !permissions.chars().all(|c| "rwm".contains(c)) {
        let reason = format!("{permissions:?} is no subset of rwm");
        return Err(Invalid::new(format!("{at}.permissions"), reason));
    }
    Ok(Device {
        container_path: absolute(&format!("{at}.container_path"), container_path)?,
        host_path: absolute(&format!("{at}.host_path"), host_path)?,
        permissions,
    })
}

/// The daemon's shim opens this file as root: it must stay below the pod's log directory.
fn log_path(path: String) -> Result<String, Invalid> {
    let field = "config.log_path";
    no_nul(field, path.as_bytes())?;
    let inside = |c| matches!(c, Component::Normal(_) | Component::CurDir);
    if Path::new(&path).components().all(inside) {
        Ok(path)
    } else {
        Err(Invalid::new(field, format!("{path:?} is not a path below the pod's log directory")))
    }
}

#[expect(deprecated, reason = "older clients fill only the string fields")]
fn security(given: v1::LinuxContainerSecurityContext) -> Result<SecurityContext, Invalid> {
    let at = "config.linux.security_context";
    let capabilities = given.capabilities.unwrap_or_default();
    Ok(SecurityContext {
        add_capabilities: capabilities.add_capabilities,
        drop_capabilities: capabilities.drop_capabilities,
        add_ambient_capabilities: capabilities.add_ambient_capabilities,
        privilege: privilege(given.privileged),
        namespaces: namespaces(
            &format!("{at}.namespace_options"),
            given.namespace_options,
            Owner::Container,
        )?,
        selinux: given.selinux_options.map(selinux),
        run_as: run_as(at, given.run_as_user, given.run_as_username, given.run_as_group)?,
        supplemental_groups: groups(at, &given.supplemental_groups)?,
        groups_policy: groups_policy(at, given.supplemental_groups_policy)?,
        rootfs: if given.readonly_rootfs {
            RootfsAccess::ReadOnly
        } else {
            RootfsAccess::ReadWrite
        },
        new_privileges: if given.no_new_privs {
            NewPrivileges::Denied
        } else {
            NewPrivileges::Allowed
        },
        masked_paths: given.masked_paths,
        readonly_paths: given.readonly_paths,
        seccomp: seccomp(at, given.seccomp, &given.seccomp_profile_path)?,
        apparmor: apparmor(at, given.apparmor, &given.apparmor_profile)?,
    })
}

/// A container's identity, to the wire.
#[must_use]
pub fn container_metadata_to_cri(metadata: &ContainerMetadata) -> v1::ContainerMetadata {
    v1::ContainerMetadata { name: metadata.name.clone(), attempt: metadata.attempt }
}

/// An image as it was asked for, to the wire.
#[must_use]
pub fn image_to_cri(image: &ImageRequest) -> v1::ImageSpec {
    v1::ImageSpec {
        image: image.image.clone(),
        annotations: to_map(&image.annotations),
        user_specified_image: image.user_specified_image.clone(),
        runtime_handler: image.runtime_handler.clone(),
        image_ref: String::new(),
    }
}

/// A container, to the wire.
#[must_use]
pub fn container_config_to_cri(config: &ContainerConfig) -> v1::ContainerConfig {
    let stop_signal = config.stop_signal.map_or(v1::Signal::RuntimeDefault, signal_to_cri);
    v1::ContainerConfig {
        metadata: Some(container_metadata_to_cri(&config.metadata)),
        image: Some(image_to_cri(&config.image)),
        command: config.command.clone(),
        args: config.args.clone(),
        working_dir: config.working_dir.clone(),
        envs: config
            .envs
            .iter()
            .map(|(key, value)| v1::KeyValue { key: key.clone(), value: value.clone() })
            .collect(),
        mounts: config.mounts.iter().map(mount_to_cri).collect(),
        devices: config.devices.iter().map(device_to_cri).collect(),
        labels: to_map(&config.labels),
        annotations: to_map(&config.annotations),
        log_path: config.log_path.clone(),
        stdin: config.stdin != Stdin::Null,
        stdin_once: config.stdin == Stdin::Once,
        tty: config.terminal == Terminal::Tty,
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(resources_to_cri(&config.resources)),
            security_context: Some(security_to_cri(&config.security)),
        }),
        windows: None,
        cdi_devices: config
            .cdi_devices
            .iter()
            .map(|name| v1::CdiDevice { name: name.clone() })
            .collect(),
        stop_signal: stop_signal.into(),
    }
}

fn device_to_cri(device: &Device) -> v1::Device {
    v1::Device {
        container_path: path_text(&device.container_path),
        host_path: path_text(&device.host_path),
        permissions: device.permissions.clone(),
    }
}

fn security_to_cri(security: &SecurityContext) -> v1::LinuxContainerSecurityContext {
    let (uid, name, gid) = match &security.run_as {
        RunAs::Image => (None, String::new(), None),
        RunAs::Uid { uid, gid } => (Some(*uid), String::new(), *gid),
        RunAs::Name { name, gid } => (None, name.clone(), *gid),
    };
    v1::LinuxContainerSecurityContext {
        capabilities: Some(v1::Capability {
            add_capabilities: security.add_capabilities.clone(),
            drop_capabilities: security.drop_capabilities.clone(),
            add_ambient_capabilities: security.add_ambient_capabilities.clone(),
        }),
        privileged: security.privilege == Privilege::Privileged,
        namespace_options: Some(namespaces_to_cri(&security.namespaces)),
        selinux_options: security.selinux.as_ref().map(selinux_to_cri),
        run_as_user: int64(uid),
        run_as_group: int64(gid),
        run_as_username: name,
        readonly_rootfs: security.rootfs == RootfsAccess::ReadOnly,
        supplemental_groups: security.supplemental_groups.iter().map(|g| i64::from(*g)).collect(),
        supplemental_groups_policy: groups_policy_to_cri(security.groups_policy).into(),
        no_new_privs: security.new_privileges == NewPrivileges::Denied,
        masked_paths: security.masked_paths.clone(),
        readonly_paths: security.readonly_paths.clone(),
        seccomp: Some(profile_to_cri(&security.seccomp)),
        apparmor: Some(profile_to_cri(&security.apparmor)),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smallest() -> v1::ContainerConfig {
        v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata { name: "c".into(), attempt: 0 }),
            image: Some(v1::ImageSpec { image: "i".into(), ..Default::default() }),
            ..Default::default()
        }
    }

    #[track_caller]
    fn refused(config: v1::ContainerConfig, field: &str) {
        let error = container_config(Some(config)).expect_err("was accepted");
        assert_eq!(error.field, field, "{error}");
    }

    #[test]
    fn metadata_and_image_are_all_a_container_needs() {
        let container = container_config(Some(smallest())).unwrap();
        assert_eq!(container.security.run_as, RunAs::Image);
        assert_eq!(container.stop_signal, None);
        assert_eq!(container_config(None).unwrap_err().field, "config");
        refused(v1::ContainerConfig { metadata: None, ..smallest() }, "config.metadata");
        refused(v1::ContainerConfig { image: None, ..smallest() }, "config.image");
        let empty = Some(v1::ImageSpec::default());
        refused(v1::ContainerConfig { image: empty, ..smallest() }, "config.image.image");
    }

    #[test]
    fn environment_values_are_bytes() {
        let variable = |key: &str, value: &[u8]| v1::ContainerConfig {
            envs: vec![v1::KeyValue { key: key.into(), value: value.into() }],
            ..smallest()
        };
        let container = container_config(Some(variable("A", b"\xff\xfe"))).unwrap();
        assert_eq!(container.envs, [("A".to_owned(), b"\xff\xfe".to_vec())]);
        refused(variable("", b""), "config.envs[\"\"]");
        refused(variable("A=B", b""), "config.envs[\"A=B\"]");
        refused(variable("A", b"x\0y"), "config.envs[\"A\"]");
    }

    #[test]
    fn a_log_file_stays_below_the_pods_directory() {
        let log = |path: &str| v1::ContainerConfig { log_path: path.into(), ..smallest() };
        for good in ["", "c/0.log", "0.log"] {
            assert!(container_config(Some(log(good))).is_ok(), "{good:?}");
        }
        for bad in ["../0.log", "a/../../0.log", "/var/log/0.log"] {
            refused(log(bad), "config.log_path");
        }
    }

    #[test]
    fn the_item_at_fault_is_named_by_its_place() {
        let device = |permissions: &str| v1::Device {
            container_path: "/dev/a".into(),
            host_path: "/dev/b".into(),
            permissions: permissions.into(),
        };
        let devices = vec![device("rw"), device("rx")];
        refused(v1::ContainerConfig { devices, ..smallest() }, "config.devices[1].permissions");
    }

    #[test]
    fn input_is_closed_once_only_if_there_is_input() {
        let once = v1::ContainerConfig { stdin_once: true, ..smallest() };
        assert_eq!(container_config(Some(once.clone())).unwrap().stdin, Stdin::Null);
        let both = v1::ContainerConfig { stdin: true, ..once };
        assert_eq!(container_config(Some(both)).unwrap().stdin, Stdin::Once);
    }
}
