// SPDX-License-Identifier: Apache-2.0
//! Pods and containers as plugins see them: from their records and the container's OCI spec.
//! Pure.

use std::path::PathBuf;

use crisp_nri as nri;
use serde_json::Value;

use super::resources::{self, int, items, optional, pairs, text, texts, uint32};
use crate::{
    containers::record::{ContainerRecord, Phase},
    pods::{record::PodRecord, spec::SecurityProfile},
};

/// A pod's namespaces: the OCI spec's word and the file that holds it.
pub type NamespaceFiles = Vec<(&'static str, PathBuf)>;

/// A pod.
#[must_use]
pub fn pod(record: &PodRecord, namespaces: NamespaceFiles) -> nri::PodSandbox {
    let config = &record.config;
    let limits = |of: &Option<crate::pods::spec::Resources>| -> nri::LinuxResources {
        of.as_ref().map(resources::from_request).unwrap_or_default()
    };
    let mut linux = nri::LinuxPodSandbox::new();
    linux.pod_overhead = Some(limits(&config.overhead)).into();
    linux.pod_resources = Some(limits(&config.resources)).into();
    linux.cgroup_parent.clone_from(&config.cgroup_parent);
    linux.cgroups_path.clone_from(&record.cgroup.path);
    linux.namespaces = namespaces
        .into_iter()
        .map(|(kind, path)| nri::LinuxNamespace {
            type_: kind.to_owned(),
            path: path.display().to_string(),
            ..Default::default()
        })
        .collect();
    let mut pod = nri::PodSandbox::new();
    pod.id = record.id.to_string();
    pod.name.clone_from(&config.metadata.name);
    pod.uid.clone_from(&config.metadata.uid);
    pod.namespace.clone_from(&config.metadata.namespace);
    pod.labels = config.labels.clone().into_iter().collect();
    pod.annotations = config.annotations.clone().into_iter().collect();
    pod.runtime_handler.clone_from(&record.requested_handler);
    pod.linux = Some(linux).into();
    pod.ips = record.ips.iter().map(ToString::to_string).collect();
    pod
}

/// A container, with its OCI spec as JSON; null for one whose spec is not there.
#[must_use]
pub fn container(record: &ContainerRecord, spec: &Value) -> nri::Container {
    let mut container = nri::Container::new();
    container.id = record.id.to_string();
    container.pod_sandbox_id = record.pod.to_string();
    container.name.clone_from(&record.config.metadata.name);
    container.labels = record.config.labels.clone().into_iter().collect();
    container.created_at = record.created_at_ns;
    container.cdi_devices = record
        .config
        .cdi_devices
        .iter()
        .map(|name| nri::CDIDevice { name: name.clone(), ..Default::default() })
        .collect();
    container.image = Some(image(record)).into();
    life(&mut container, &record.phase);
    from_spec(&mut container, spec);
    // The client's own have the last word over what the spec adds.
    for (key, value) in &record.config.annotations {
        container.annotations.entry(key.clone()).or_insert_with(|| value.clone());
    }
    let mut linux = linux(&spec["linux"]);
    linux.oom_score_adj = optional(spec["process"]["oomScoreAdj"].as_i64(), int);
    linux.io_priority = io_priority(&spec["process"]["ioPriority"]);
    linux.seccomp_profile = Some(profile(&record.config.security.seccomp)).into();
    container.linux = Some(linux).into();
    container
}

fn image(record: &ContainerRecord) -> nri::Image {
    let mut image = nri::Image::new();
    image.name.clone_from(&record.config.image.image);
    if let Some(made) = &record.made {
        image.config_digest.clone_from(&made.image_id);
        image.digest =
            made.image_ref.split_once('@').map(|(_, d)| d.to_owned()).unwrap_or_default();
    }
    image
}

fn life(container: &mut nri::Container, phase: &Phase) {
    use nri::ContainerState;
    match phase {
        Phase::Creating | Phase::Created => {
            container.state = ContainerState::CONTAINER_CREATED.into();
        }
        Phase::Running(run) => {
            container.state = ContainerState::CONTAINER_RUNNING.into();
            container.started_at = run.started_at_ns;
            container.pid = run.pid;
        }
        Phase::Exited(exit) => {
            container.state = ContainerState::CONTAINER_STOPPED.into();
            container.started_at = exit.started_at_ns;
            container.finished_at = exit.finished_at_ns;
            container.exit_code = exit.code;
            container.status_reason = exit.cause.reason(exit.code).to_owned();
            container.status_message.clone_from(&exit.message);
        }
    }
}

fn from_spec(container: &mut nri::Container, spec: &Value) {
    let process = &spec["process"];
    container.args = texts(&process["args"]);
    container.env = texts(&process["env"]);
    container.annotations = pairs(&spec["annotations"]);
    container.mounts = items(&spec["mounts"]).map(mount).collect();
    container.hooks = Some(hooks(&spec["hooks"])).into();
    container.rlimits = items(&process["rlimits"])
        .map(|limit| nri::POSIXRlimit {
            type_: text(&limit["type"]),
            hard: limit["hard"].as_u64().unwrap_or_default(),
            soft: limit["soft"].as_u64().unwrap_or_default(),
            ..Default::default()
        })
        .collect();
    let id = |value: &Value| value.as_u64().and_then(|v| u32::try_from(v).ok()).unwrap_or_default();
    container.user = Some(nri::User {
        uid: id(&process["user"]["uid"]),
        gid: id(&process["user"]["gid"]),
        additional_gids: items(&process["user"]["additionalGids"]).map(id).collect(),
        ..Default::default()
    })
    .into();
}

fn mount(mount: &Value) -> nri::Mount {
    nri::Mount {
        destination: text(&mount["destination"]),
        type_: text(&mount["type"]),
        source: text(&mount["source"]),
        options: texts(&mount["options"]),
        ..Default::default()
    }
}

fn hooks(hooks: &Value) -> nri::Hooks {
    let of = |stage: &str| items(&hooks[stage]).map(hook).collect();
    nri::Hooks {
        prestart: of("prestart"),
        create_runtime: of("createRuntime"),
        create_container: of("createContainer"),
        start_container: of("startContainer"),
        poststart: of("poststart"),
        poststop: of("poststop"),
        ..Default::default()
    }
}

fn hook(hook: &Value) -> nri::Hook {
    nri::Hook {
        path: text(&hook["path"]),
        args: texts(&hook["args"]),
        env: texts(&hook["env"]),
        timeout: optional(hook["timeout"].as_i64(), int),
        ..Default::default()
    }
}

fn linux(linux: &Value) -> nri::LinuxContainer {
    let mut known = nri::LinuxContainer::new();
    known.namespaces = items(&linux["namespaces"])
        .map(|n| nri::LinuxNamespace {
            type_: text(&n["type"]),
            path: text(&n["path"]),
            ..Default::default()
        })
        .collect();
    known.devices = items(&linux["devices"]).map(device).collect();
    known.resources = Some(resources::from_oci(&linux["resources"])).into();
    known.cgroups_path = text(&linux["cgroupsPath"]);
    known.sysctl = pairs(&linux["sysctl"]);
    known.seccomp_policy = seccomp(&linux["seccomp"]);
    known
}

fn device(device: &Value) -> nri::LinuxDevice {
    let small = |value: &Value| value.as_u64().and_then(|v| u32::try_from(v).ok());
    nri::LinuxDevice {
        path: text(&device["path"]),
        type_: text(&device["type"]),
        major: device["major"].as_i64().unwrap_or_default(),
        minor: device["minor"].as_i64().unwrap_or_default(),
        file_mode: optional(small(&device["fileMode"]), |value| nri::OptionalFileMode {
            value,
            ..Default::default()
        }),
        uid: optional(small(&device["uid"]), uint32),
        gid: optional(small(&device["gid"]), uint32),
        ..Default::default()
    }
}

fn io_priority(priority: &Value) -> protobuf::MessageField<nri::LinuxIOPriority> {
    let class = match priority["class"].as_str() {
        Some("IOPRIO_CLASS_RT") => nri::IOPrioClass::IOPRIO_CLASS_RT,
        Some("IOPRIO_CLASS_BE") => nri::IOPrioClass::IOPRIO_CLASS_BE,
        Some("IOPRIO_CLASS_IDLE") => nri::IOPrioClass::IOPRIO_CLASS_IDLE,
        _ => return None.into(),
    };
    let level = priority["priority"].as_i64().and_then(|v| i32::try_from(v).ok());
    Some(nri::LinuxIOPriority {
        class: class.into(),
        priority: level.unwrap_or_default(),
        ..Default::default()
    })
    .into()
}

fn profile(profile: &SecurityProfile) -> nri::SecurityProfile {
    use nri::security_profile::ProfileType;
    let (kind, file) = match profile {
        SecurityProfile::RuntimeDefault => (ProfileType::RUNTIME_DEFAULT, String::new()),
        SecurityProfile::Unconfined => (ProfileType::UNCONFINED, String::new()),
        SecurityProfile::Localhost(file) => (ProfileType::LOCALHOST, file.clone()),
    };
    nri::SecurityProfile { profile_type: kind.into(), localhost_ref: file, ..Default::default() }
}

fn seccomp(policy: &Value) -> protobuf::MessageField<nri::LinuxSeccomp> {
    if policy.is_null() {
        return None.into();
    }
    let small = |value: &Value| value.as_u64().and_then(|v| u32::try_from(v).ok());
    let arg = |arg: &Value| nri::LinuxSeccompArg {
        index: small(&arg["index"]).unwrap_or_default(),
        value: arg["value"].as_u64().unwrap_or_default(),
        value_two: arg["valueTwo"].as_u64().unwrap_or_default(),
        op: text(&arg["op"]),
        ..Default::default()
    };
    let syscall = |call: &Value| nri::LinuxSyscall {
        names: texts(&call["names"]),
        action: text(&call["action"]),
        errno_ret: optional(small(&call["errnoRet"]), uint32),
        args: items(&call["args"]).map(arg).collect(),
        ..Default::default()
    };
    Some(nri::LinuxSeccomp {
        default_action: text(&policy["defaultAction"]),
        default_errno: optional(small(&policy["defaultErrnoRet"]), uint32),
        architectures: texts(&policy["architectures"]),
        flags: texts(&policy["flags"]),
        listener_path: text(&policy["listenerPath"]),
        listener_metadata: text(&policy["listenerMetadata"]),
        syscalls: items(&policy["syscalls"]).map(syscall).collect(),
        ..Default::default()
    })
    .into()
}
