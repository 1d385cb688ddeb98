// SPDX-License-Identifier: Apache-2.0
//! Adjustments on a whole spec, from the plugins' answers to the JSON that the OCI runtime reads.

use crisp_nri as nri;
use serde_json::{Value, json};

use super::{
    apply,
    error::NriError,
    merge::Creation,
    resources::{int, optional, uint32},
};

fn spec() -> Value {
    json!({
        "annotations": { "kept": "1", "old": "2" },
        "process": { "args": ["/bin/a"], "env": ["PATH=/bin", "OLD=1"], "rlimits": [] },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/data", "type": "bind", "source": "/a", "options": ["rbind"] },
        ],
        "linux": {
            "namespaces": [{ "type": "mount" }, { "type": "network", "path": "/n" }],
            "devices": [{ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229 }],
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "sysctl": { "net.a": "1" },
        },
    })
}

fn creation() -> Creation {
    let mut container = nri::Container::new();
    container.id = "c".into();
    container.args = vec!["/bin/a".into()];
    container.env = vec!["PATH=/bin".into(), "OLD=1".into()];
    Creation::new(container)
}

fn answer(adjust: nri::ContainerAdjustment) -> nri::CreateContainerResponse {
    nri::CreateContainerResponse { adjust: Some(adjust).into(), ..Default::default() }
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

fn variable(key: &str, value: &str) -> nri::KeyValue {
    nri::KeyValue { key: key.into(), value: value.into(), ..Default::default() }
}

fn mount(destination: &str, options: &[&str]) -> nri::Mount {
    nri::Mount {
        destination: destination.into(),
        type_: "bind".into(),
        source: "/host".into(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        ..Default::default()
    }
}

fn namespace(kind: &str, path: &str) -> nri::LinuxNamespace {
    nri::LinuxNamespace { type_: kind.into(), path: path.into(), ..Default::default() }
}

/// One of everything.
fn all() -> nri::ContainerAdjustment {
    let mut linux = nri::LinuxContainerAdjustment::new();
    linux.devices = vec![
        nri::LinuxDevice { path: "-/dev/fuse".into(), ..Default::default() },
        nri::LinuxDevice {
            path: "/dev/disk".into(),
            type_: "b".into(),
            major: 8,
            file_mode: Some(nri::OptionalFileMode { value: 0o640, ..Default::default() }).into(),
            uid: optional(Some(7), uint32),
            ..Default::default()
        },
    ];
    linux.namespaces = vec![namespace("-network", ""), namespace("ipc", "/i")];
    linux.sysctl = [pair("-net.a", ""), pair("net.b", "2")].into();
    linux.cgroups_path = "/elsewhere".into();
    linux.io_priority = Some(nri::LinuxIOPriority {
        class: nri::IOPrioClass::IOPRIO_CLASS_IDLE.into(),
        priority: 3,
        ..Default::default()
    })
    .into();
    linux.scheduler = Some(nri::LinuxScheduler {
        policy: nri::LinuxSchedulerPolicy::SCHED_FIFO.into(),
        priority: 5,
        flags: vec![nri::LinuxSchedulerFlag::SCHED_FLAG_RESET_ON_FORK.into()],
        ..Default::default()
    })
    .into();
    linux.memory_policy = Some(nri::LinuxMemoryPolicy {
        mode: nri::MpolMode::MPOL_BIND.into(),
        nodes: "0".into(),
        flags: vec![nri::MpolFlag::MPOL_F_STATIC_NODES.into()],
        ..Default::default()
    })
    .into();
    let device = nri::LinuxNetDevice { name: "eth7".into(), ..Default::default() };
    linux.net_devices = [("veth0".to_owned(), device)].into();
    let rdt = linux.rdt.mut_or_insert_default();
    rdt.clos_id = Some(nri::OptionalString { value: "gold".into(), ..Default::default() }).into();
    linux.seccomp_policy = Some(nri::LinuxSeccomp {
        default_action: "SCMP_ACT_ALLOW".into(),
        architectures: vec!["SCMP_ARCH_X86_64".into()],
        syscalls: vec![nri::LinuxSyscall {
            names: vec!["reboot".into()],
            action: "SCMP_ACT_ERRNO".into(),
            errno_ret: optional(Some(1), uint32),
            ..Default::default()
        }],
        ..Default::default()
    })
    .into();
    let pids = nri::LinuxPids { limit: 99, ..Default::default() };
    linux.resources.mut_or_insert_default().pids = Some(pids).into();
    let mut hooks = nri::Hooks::new();
    hooks.create_runtime.push(nri::Hook {
        path: "/bin/hook".into(),
        args: vec!["hook".into(), "now".into()],
        timeout: optional(Some(5), int),
        ..Default::default()
    });
    nri::ContainerAdjustment {
        annotations: [pair("-old", ""), pair("new", "3")].into(),
        mounts: vec![mount("/data/deep", &["rshared"]), mount("-/data", &[]), mount("/b", &[])],
        env: vec![variable("-OLD", ""), variable("PATH", "/sbin"), variable("NEW", "1")],
        args: vec!["/bin/b".into(), "x".into()],
        hooks: Some(hooks).into(),
        rlimits: vec![nri::POSIXRlimit {
            type_: "RLIMIT_NOFILE".into(),
            hard: 20,
            soft: 10,
            ..Default::default()
        }],
        linux: Some(linux).into(),
        ..Default::default()
    }
}

#[test]
fn everything_a_plugin_may_adjust() {
    let mut creation = creation();
    creation.add(&answer(all()), "00-a").unwrap();
    let mut spec = spec();
    apply(&mut spec, &creation.adjust);
    insta::assert_json_snapshot!(spec);
}

#[test]
fn the_next_plugin_sees_what_was_adjusted() {
    let mut creation = creation();
    creation.add(&answer(all()), "00-a").unwrap();
    let seen = &creation.container;
    assert_eq!(seen.args, ["/bin/b", "x"]);
    assert_eq!(seen.env, ["PATH=/sbin", "NEW=1"]);
    assert_eq!(seen.annotations, [pair("new", "3")].into());
    let mounts: Vec<_> = seen.mounts.iter().map(|mount| mount.destination.as_str()).collect();
    assert_eq!(mounts, ["/data/deep", "/b"]);
    assert_eq!(seen.linux.resources.pids.limit, 99);
    assert_eq!(seen.linux.devices.len(), 1);
    assert_eq!(seen.hooks.create_runtime.len(), 1);
}

#[test]
fn two_plugins_that_set_the_same_are_named() {
    let sets: Vec<(&str, nri::ContainerAdjustment)> = vec![
        ("Args", nri::ContainerAdjustment { args: vec!["x".into()], ..Default::default() }),
        (
            "Env \"PATH\"",
            nri::ContainerAdjustment { env: vec![variable("PATH", "")], ..Default::default() },
        ),
        (
            "Mounts \"/b\"",
            nri::ContainerAdjustment { mounts: vec![mount("/b", &[])], ..Default::default() },
        ),
        (
            "Annotations \"new\"",
            nri::ContainerAdjustment {
                annotations: [pair("new", "4")].into(),
                ..Default::default()
            },
        ),
    ];
    for (what, second) in sets {
        let mut creation = creation();
        creation.add(&answer(all()), "00-a").unwrap();
        let error = creation.add(&answer(second), "10-b").unwrap_err().to_string();
        let expected = format!("NRI plugins 00-a and 10-b both set {what} of container c");
        assert_eq!(error, expected);
    }
}

#[test]
fn a_plugin_takes_over_by_removing_first() {
    let mut creation = creation();
    creation.add(&answer(all()), "00-a").unwrap();
    let second = nri::ContainerAdjustment {
        args: vec![String::new(), "/bin/c".into()],
        env: vec![variable("-PATH", ""), variable("PATH", "/c")],
        annotations: [pair("-new", ""), pair("new", "4")].into(),
        mounts: vec![mount("-/b", &[])],
        ..Default::default()
    };
    creation.add(&answer(second), "10-b").unwrap();
    let mut spec = spec();
    apply(&mut spec, &creation.adjust);
    assert_eq!(spec["process"]["args"], json!(["/bin/c"]));
    assert_eq!(spec["process"]["env"], json!(["PATH=/c", "NEW=1"]));
    assert_eq!(spec["annotations"], json!({ "kept": "1", "new": "4" }));
    let mounts: Vec<_> = spec["mounts"].as_array().unwrap().iter().collect();
    assert!(mounts.iter().all(|mount| mount["destination"] != "/b"));
    let owners = creation.owners();
    let of = &owners.owners["c"];
    assert_eq!(of.simple[&7], "10-b");
    assert_eq!(of.compound[&1].owners["new"], "10-b");
    assert_eq!(of.compound[&2].owners["/b"], "-10-b");
}

#[test]
fn a_container_being_made_cannot_be_updated() {
    let mut answer = nri::CreateContainerResponse::new();
    answer.update.push(nri::ContainerUpdate { container_id: "c".into(), ..Default::default() });
    let error = creation().add(&answer, "00-a").unwrap_err();
    assert!(matches!(error, NriError::Impossible { .. }), "{error}");
}

#[test]
fn nothing_asked_is_nothing_changed() {
    let mut creation = creation();
    creation.add(&answer(nri::ContainerAdjustment::new()), "00-a").unwrap();
    assert_eq!(creation.adjust, nri::ContainerAdjustment::new());
    for mut spec in [spec(), json!({ "process": {}, "linux": { "resources": {} } })] {
        let before = spec.clone();
        apply(&mut spec, &creation.adjust);
        assert_eq!(spec, before);
    }
}
