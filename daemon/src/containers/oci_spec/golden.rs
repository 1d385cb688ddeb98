// SPDX-License-Identifier: Apache-2.0
//! Whole specs, kept beside the code: a change of any byte of them is seen in review.

use std::path::Path;

use serde_json::{Value, json};

use super::{PodNamespaces, SeccompArches, SeccompChoice, fixture::Case};
use crate::{
    containers::{
        cdi::{CdiEdits, CdiHook, CdiMount, HookStage},
        devices::{DeviceKind, ResolvedDevice},
        host::{CgroupVersion, Support},
        spec::{
            ImageRequest, Mount, MountAccess, MountSource, NewPrivileges, Propagation,
            RootfsAccess, Terminal,
        },
        users::ResolvedUser,
    },
    pods::spec::{IdMapping, PidSharing, Resources, Sharing},
};

/// What differs from the plain container's spec: the rest is in that golden.
fn changes(case: &Case) -> Value {
    let plain = Case::plain().json();
    difference(&plain, &case.json()).unwrap_or(Value::Null)
}

fn difference(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let changed = new.iter().filter_map(|(key, value)| {
        let change = difference(old.get(key).unwrap_or(&Value::Null), value)?;
        Some((key.clone(), change))
    });
    let gone = old.keys().filter(|key| !new.contains_key(*key));
    let gone = gone.map(|key| (key.clone(), json!("(gone)")));
    let all: serde_json::Map<_, _> = changed.chain(gone).collect();
    (!all.is_empty()).then_some(Value::Object(all))
}

fn device(path: &str, major: u32, minor: u32) -> ResolvedDevice {
    ResolvedDevice {
        path: path.into(),
        kind: DeviceKind::Char,
        major,
        minor,
        mode: 0o660,
        uid: 0,
        gid: 6,
        permissions: "rw".into(),
    }
}

#[test]
fn plain() {
    insta::assert_json_snapshot!(Case::plain().json());
}

#[test]
fn cgroup_v1() {
    let mut case = Case::plain();
    case.host.cgroup = CgroupVersion::V1;
    insta::assert_json_snapshot!(changes(&case));
}

#[test]
fn systemd_cgroup() {
    let mut case = Case::plain();
    case.cgroups_path = "kubepods-pod0001.slice:crisp:c".into();
    insta::assert_json_snapshot!(changes(&case));
}

#[test]
fn terminal_user_and_environment() {
    let mut case = Case::plain();
    case.container.terminal = Terminal::Tty;
    case.container.command = vec!["/bin/sh".into()];
    case.container.working_dir = "home".into();
    case.container.envs = vec![
        ("LANG".into(), b"de".to_vec()),
        ("EMPTY".into(), Vec::new()),
        ("A".into(), "b=c ü".as_bytes().to_vec()),
    ];
    case.user = ResolvedUser { uid: 1000, gid: 1000, groups: vec![1000, 50000] };
    insta::assert_json_snapshot!(changes(&case));
}

#[test]
fn privileged() {
    let mut case = Case::plain().privileged();
    case.host_devices = vec![device("/dev/null", 1, 3), device("/dev/kvm", 10, 232)];
    case.seccomp = SeccompChoice::RuntimeDefault;
    case.apparmor = Some("crisp-default".into());
    case.host.capabilities = super::super::capabilities::CapabilitySet::from_bits(0b111);
    insta::assert_json_snapshot!(changes(&case));
}

#[test]
fn user_namespace() {
    let mut case = Case::plain().with_user_namespace().with_mount("/srv/data", "/data");
    let ids = vec![IdMapping { host_id: 65536, container_id: 0, length: 65536 }];
    case.last_mount().uid_mappings.clone_from(&ids);
    case.last_mount().gid_mappings = ids;
    insta::assert_json_snapshot!(changes(&case));
}

#[test]
fn user_namespace_with_host_network() {
    let mut case = Case::plain().with_user_namespace();
    case.container.security.namespaces.network = Sharing::Node;
    case.host.cgroup = CgroupVersion::V1;
    insta::assert_json_snapshot!(changes(&case));
}

#[test]
fn host_namespaces() {
    let mut case = Case::plain();
    let namespaces = &mut case.container.security.namespaces;
    namespaces.network = Sharing::Node;
    namespaces.ipc = Sharing::Node;
    namespaces.pid = PidSharing::Node;
    case.hostname = "node".into();
    insta::assert_json_snapshot!(changes(&case));
}

#[test]
fn shared_and_targeted_pid_namespaces() {
    let mut case = Case::plain();
    case.container.security.namespaces.pid = PidSharing::Pod;
    let shared = changes(&case);
    let target = crisp_words::ContainerId::new("other").unwrap();
    case.container.security.namespaces.pid = PidSharing::Target(target);
    case.target = Some("/proc/4711/ns/pid".into());
    insta::assert_json_snapshot!([shared, changes(&case)]);
}

#[test]
fn sandbox_in_a_virtual_machine() {
    let mut case = Case::plain();
    case.namespaces = PodNamespaces::KnownToShim;
    case.pod_files.shm = None;
    case.handler_annotations =
        [("io.katacontainers.config.hypervisor.default_vcpus".to_owned(), "2".to_owned())].into();
    insta::assert_json_snapshot!(changes(&case));
}

#[test]
fn mounts() {
    let mut case = Case::plain()
        .with_mount("/srv/deep", "/data/sub/dir")
        .with_mount("/srv/etc-hosts", "/etc/hosts")
        .with_mount("/srv/shared", "/shared")
        .with_mount("/srv/slave", "/slave");
    case.last_mount().propagation = Propagation::HostToContainer;
    case.container.mounts[2].propagation = Propagation::Bidirectional;
    case = case.with_mount("/srv/data", "/data/");
    case.last_mount().access = MountAccess::ReadOnly;
    case.last_mount().options = vec!["noexec".into(), "nosuid".into()];
    case = case.with_mount("/srv/rro", "/rro");
    case.last_mount().access = MountAccess::RecursiveReadOnly;
    case.container.mounts.push(Mount {
        container_path: "/image".into(),
        source: MountSource::Image { image: ImageRequest::default(), sub_path: "etc".into() },
        access: MountAccess::ReadOnly,
        ..Mount::default()
    });
    case.container.security.rootfs = RootfsAccess::ReadOnly;
    insta::assert_json_snapshot!(changes(&case));
}

#[test]
fn a_mount_over_dev_and_sys() {
    let case = Case::plain().with_mount("/dev", "/dev").with_mount("/sys", "/sys");
    let targets = case.json()["mounts"].as_array().unwrap().clone();
    let of = |target: &str| {
        targets.iter().filter(|mount| mount["destination"] == target).cloned().collect::<Vec<_>>()
    };
    assert_eq!(of("/dev").len(), 1);
    assert_eq!(of("/dev")[0]["type"], "bind");
    assert!(of("/dev/pts").is_empty() && of("/dev/mqueue").is_empty());
    assert_eq!(of("/sys")[0]["source"], "/sys");
    assert_eq!(of("/sys/fs/cgroup").len(), 1);
}

#[test]
fn limits() {
    let mut case = Case::plain();
    case.container.resources = Resources {
        cpu_period: 100_000,
        cpu_quota: 50_000,
        cpu_shares: 512,
        memory_limit: 64 << 20,
        memory_swap_limit: 96 << 20,
        oom_score_adj: -998,
        cpuset_cpus: "0-1,3".into(),
        cpuset_mems: "0".into(),
        hugepages: vec![("2MB".into(), 4 << 20), ("1GB".into(), 0)],
        unified: [("memory.high".to_owned(), "1000".to_owned())].into(),
    };
    case.host.oom_score_adj_floor = -500;
    insta::assert_json_snapshot!(changes(&case));
}

#[test]
fn capabilities() {
    let of = |add: &[&str], drop: &[&str], ambient: &[&str]| {
        let mut case = Case::plain();
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        case.container.security.add_capabilities = list(add);
        case.container.security.drop_capabilities = list(drop);
        case.container.security.add_ambient_capabilities = list(ambient);
        case.json()["process"]["capabilities"].take()
    };
    insta::assert_json_snapshot!(json!({
        "add net_admin, drop mknod": of(&["NET_ADMIN"], &["MKNOD"], &[]),
        "drop all, add net_bind_service": of(&["NET_BIND_SERVICE"], &["ALL"], &[]),
        "add all, drop sys_admin": of(&["all"], &["CAP_SYS_ADMIN"], &[])["bounding"],
        "drop all, ambient net_raw": of(&[], &["ALL"], &["NET_RAW"]),
        "add and drop the same": of(&["NET_ADMIN", "NET_RAW"], &["NET_ADMIN", "NET_RAW"], &[]),
    }));
}

#[test]
fn seccomp_default() {
    let mut case = Case::plain();
    case.seccomp = SeccompChoice::RuntimeDefault;
    case.container.security.new_privileges = NewPrivileges::Denied;
    let narrow = changes(&case);
    case.policy.seccomp_arches = SeccompArches::Native;
    let native = case.json()["linux"]["seccomp"]["architectures"].take();
    insta::assert_json_snapshot!(json!({ "default": narrow, "native only": native }));
}

#[test]
fn labels() {
    let mut case = Case::plain();
    case.apparmor = Some("crisp-default".into());
    case.host.selinux = Support::Present;
    case.container.security.selinux =
        Some(crate::pods::spec::SelinuxLabel { level: "s0:c1,c2".into(), ..Default::default() });
    insta::assert_json_snapshot!(changes(&case));
}

#[test]
fn devices_by_path_and_by_name() {
    let mut case = Case::plain();
    case.devices = vec![device("/dev/kvm", 10, 232), device("/dev/mine", 1, 5)];
    case.cdi = CdiEdits {
        env: vec!["GPU=0".into()],
        devices: vec![device("/dev/gpu0", 195, 0)],
        mounts: vec![CdiMount {
            host_path: "/usr/lib/gpu".into(),
            container_path: Path::new("/usr/lib/gpu").into(),
            options: vec!["ro".into(), "rbind".into()],
        }],
        hooks: vec![CdiHook {
            stage: HookStage::CreateContainer,
            path: "/bin/ldconfig".into(),
            args: vec!["ldconfig".into()],
            env: Vec::new(),
            timeout: Some(5),
        }],
        additional_gids: vec![44, 0],
    };
    insta::assert_json_snapshot!(changes(&case));
}
