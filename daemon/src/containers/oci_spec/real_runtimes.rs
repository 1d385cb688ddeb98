// SPDX-License-Identifier: Apache-2.0
//! Specs run by the real OCI runtimes: what the goldens cannot show is whether a runtime takes
//! them and whether they confine. They need root, a static busybox, and crun or runc; where one
//! is missing the tests say so and pass, as the continuous integration has all of them.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use super::{PodNamespaces, SeccompArches, SeccompChoice, fixture::Case};
use crate::{
    containers::{
        devices,
        host::HostFacts,
        spec::{NewPrivileges, RootfsAccess},
        users::ResolvedUser,
    },
    pods::spec::{IdMapping, Resources, Sharing},
};

const RUNTIMES: [&str; 2] = ["crun", "runc"];
const BUSYBOX: &str = "/bin/busybox";
const PROGRAMS: [&str; 19] = [
    "sh", "id", "cat", "grep", "mount", "unshare", "hostname", "ls", "touch", "true", "sleep",
    "test", "ps", "dd", "ping", "chroot", "mkdir", "stat", "readlink",
];

/// A bundle with a busybox root file system.
struct Bundle {
    dir: tempfile::TempDir,
    id: String,
}

impl Bundle {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::tempdir().unwrap();
        let rootfs = dir.path().join("rootfs");
        for sub in ["bin", "etc", "proc", "sys", "dev", "tmp", "data"] {
            fs::create_dir_all(rootfs.join(sub)).unwrap();
        }
        fs::copy(BUSYBOX, rootfs.join("bin/busybox")).unwrap();
        for program in PROGRAMS {
            symlink("busybox", rootfs.join("bin").join(program)).unwrap();
        }
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self { dir, id: format!("crisp-spec-{}-{count}", std::process::id()) }
    }

    fn rootfs(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    /// The plain case on this host, with namespaces of its own, running a shell script.
    fn case(&self, script: &str) -> Case {
        let mut case = Case::plain();
        case.host = HostFacts::collect().unwrap();
        case.runtime.oci_version_max = None;
        case.namespaces = PodNamespaces::KnownToShim;
        case.pod_files = super::PodFiles::default();
        case.rootfs = self.rootfs();
        case.cgroups_path = format!("/{}", self.id);
        case.image.working_dir = String::new();
        case.container.command = vec!["/bin/sh".into(), "-c".into(), script.into()];
        case
    }

    fn run(&self, runtime: &str, case: &Case) -> Output {
        let config = serde_json::to_vec(&case.generate().unwrap()).unwrap();
        fs::write(self.dir.path().join("config.json"), config).unwrap();
        let root = self.dir.path().join("state");
        let call = |args: &[&str]| {
            let mut command = Command::new("timeout");
            command.args(["20", runtime, "--root"]).arg(&root).args(args);
            command.stdin(std::process::Stdio::null()).output().unwrap()
        };
        let bundle = self.dir.path().to_str().unwrap();
        let output = call(&["run", "--bundle", bundle, &self.id]);
        call(&["delete", "--force", &self.id]);
        output
    }
}

/// Runs `check` with every runtime there is.
fn with_runtimes(check: impl Fn(&str)) {
    let root = rustix::process::geteuid().is_root();
    for runtime in RUNTIMES {
        let there = Command::new(runtime).arg("--version").output().is_ok();
        if root && there && Path::new(BUSYBOX).exists() {
            check(runtime);
        } else {
            eprintln!("not run with {runtime}: needs root, {runtime} and {BUSYBOX}");
        }
    }
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

fn passes(runtime: &str, bundle: &Bundle, case: &Case) -> String {
    let output = bundle.run(runtime, case);
    assert!(output.status.success(), "{runtime}: {}\n{}", output.status, text(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_plain_container_runs() {
    with_runtimes(|runtime| {
        let bundle = Bundle::new();
        let case = bundle.case("hostname; echo $PATH $HOSTNAME; cat /proc/self/oom_score_adj");
        let expected = format!("shop\n/bin shop\n{}\n", case.host.oom_score_adj_floor.max(0));
        assert_eq!(passes(runtime, &bundle, &case), expected);
    });
}

#[test]
fn identity_and_limits_arrive() {
    with_runtimes(|runtime| {
        let bundle = Bundle::new();
        let mut case = bundle.case(
            "id -u; id -G; grep -E 'CapEff|NoNewPrivs' /proc/self/status; touch /x || echo ro",
        );
        case.user = ResolvedUser { uid: 1000, gid: 100, groups: vec![100, 7] };
        case.container.security.new_privileges = NewPrivileges::Denied;
        case.container.security.rootfs = RootfsAccess::ReadOnly;
        case.container.resources = Resources {
            memory_limit: 32 << 20,
            cpu_shares: 100,
            cpu_quota: 50_000,
            cpu_period: 100_000,
            oom_score_adj: -998,
            ..Resources::default()
        };
        let out = passes(runtime, &bundle, &case);
        let groups = out.lines().nth(1).unwrap().split(' ').collect::<Vec<_>>();
        assert!(out.starts_with("1000\n"), "{out}");
        assert!(groups.contains(&"7") && groups.contains(&"100"), "{out}");
        assert!(out.contains("CapEff:\t0000000000000000"), "{out}");
        assert!(out.contains("NoNewPrivs:\t1") && out.contains("ro\n"), "{out}");
    });
}

#[test]
fn the_default_profile_lets_programs_work_and_closes_ways_out() {
    const SCRIPT: &str = "
        grep Seccomp: /proc/self/status
        ls / >/dev/null && (sleep 0 & wait) && cat /etc/nothing 2>/dev/null
        mkdir /tmp/r && dd if=/dev/urandom of=/tmp/r/x bs=1k count=1 2>/dev/null && stat /tmp/r/x >/dev/null
        ps >/dev/null && chroot / true && echo works
        unshare -m true 2>&1 || echo no unshare
        unshare -U true 2>&1 || echo no user namespace
        mount -t tmpfs t /tmp 2>&1 || echo no mount
        hostname other 2>&1 || echo no name";
    with_runtimes(|runtime| {
        for arches in [SeccompArches::NativeAndNarrow, SeccompArches::Native] {
            let bundle = Bundle::new();
            let mut case = bundle.case(SCRIPT);
            case.seccomp = SeccompChoice::RuntimeDefault;
            case.policy.seccomp_arches = arches;
            let out = passes(runtime, &bundle, &case);
            for line in ["Seccomp:\t2", "works", "no unshare", "no user namespace", "no mount"] {
                assert!(out.contains(line), "{runtime} {arches:?}: {line:?} is not in\n{out}");
            }
            assert!(out.contains("no name"), "{out}");
        }
    });
}

#[test]
fn the_default_profile_follows_capabilities() {
    with_runtimes(|runtime| {
        let bundle = Bundle::new();
        let mut case = bundle.case(
            "hostname other && unshare -m mount -t tmpfs t /tmp && grep Seccomp: /proc/self/status",
        );
        case.seccomp = SeccompChoice::RuntimeDefault;
        case.container.security.add_capabilities = vec!["SYS_ADMIN".into()];
        assert_eq!(passes(runtime, &bundle, &case), "Seccomp:\t2\n");
        // Without the profile the capability alone decides.
        let mut case = bundle.case("unshare -U true && echo open");
        case.seccomp = SeccompChoice::Unconfined;
        assert_eq!(passes(runtime, &bundle, &case), "open\n");
    });
}

#[test]
fn a_privileged_container_has_what_the_daemon_has() {
    with_runtimes(|runtime| {
        let bundle = Bundle::new();
        let mut case = bundle
            .case("grep -E 'CapEff|Seccomp:' /proc/self/status; ls /dev; touch /proc/sys/w 2>&1")
            .privileged();
        case.seccomp = SeccompChoice::RuntimeDefault;
        case.host_devices = devices::of_the_host().unwrap();
        case.container.command[2].push_str("; true");
        let out = passes(runtime, &bundle, &case);
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let own = status.lines().find(|line| line.starts_with("CapEff:")).unwrap();
        assert!(out.contains(own), "{out}");
        assert!(out.contains("Seccomp:\t0") && out.contains("loop-control"), "{out}");
    });
}

#[test]
fn mounts_arrive_as_asked() {
    with_runtimes(|runtime| {
        let bundle = Bundle::new();
        let source = bundle.dir.path().join("source");
        fs::create_dir_all(source.join("inner")).unwrap();
        fs::write(source.join("file"), "hello").unwrap();
        let from = source.to_str().unwrap();
        let mut case = bundle
            .case(
                "cat /data/file /deep/in/side/file; touch /data/x 2>/dev/null || echo ro; \
                   touch /deep/in/side/y && grep -c ' /data .*noexec' /proc/mounts; \
                   grep ' /dev/shm ' /proc/mounts | grep -c noexec",
            )
            .with_mount(from, "/deep/in/side")
            .with_mount(from, "/data");
        case.last_mount().access = crate::containers::spec::MountAccess::ReadOnly;
        case.last_mount().options = vec!["noexec".into()];
        assert_eq!(passes(runtime, &bundle, &case), "hellohelloro\n1\n1\n");
    });
}

#[test]
fn a_file_of_the_clients_own_is_a_profile() {
    with_runtimes(|runtime| {
        let bundle = Bundle::new();
        let path = bundle.dir.path().join("profile.json");
        let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":
            [{"names":["sethostname"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}"#;
        fs::write(&path, profile).unwrap();
        let mut case = bundle.case("hostname other 2>&1; true");
        case.container.security.add_capabilities = vec!["SYS_ADMIN".into()];
        let asked = crate::pods::spec::SecurityProfile::Localhost(path.display().to_string());
        case.seccomp = crate::containers::seccomp::load(&asked).unwrap();
        assert!(passes(runtime, &bundle, &case).contains("not implemented"));
    });
}

/// A process that holds a pod's namespaces.
struct Holder(std::process::Child);

impl Holder {
    fn new(options: &[&str]) -> Self {
        let mut command = Command::new("unshare");
        let child = command.args(options).args(["sleep", "60"]).spawn().unwrap();
        let holder = Self(child);
        // The namespaces are there once the program is.
        let comm = format!("/proc/{}/comm", holder.0.id());
        while fs::read_to_string(&comm).unwrap() != "sleep\n" {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        holder
    }

    fn path(&self, kind: &str) -> Option<PathBuf> {
        Some(format!("/proc/{}/ns/{kind}", self.0.id()).into())
    }

    fn pinned(&self) -> PodNamespaces {
        PodNamespaces::Pinned(super::NamespacePaths {
            net: self.path("net"),
            ipc: self.path("ipc"),
            uts: self.path("uts"),
            pid: None,
            user: self.path("user"),
        })
    }

    fn link(&self, kind: &str) -> String {
        fs::read_link(self.path(kind).unwrap()).unwrap().display().to_string()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_pods_namespaces_are_joined() {
    with_runtimes(|runtime| {
        let holder = Holder::new(&["-n", "-i", "-u"]);
        let bundle = Bundle::new();
        let mut case = bundle.case("for n in net ipc uts; do readlink /proc/self/ns/$n; done");
        case.namespaces = holder.pinned();
        let expected: String = ["net", "ipc", "uts"].map(|kind| holder.link(kind) + "\n").concat();
        assert_eq!(passes(runtime, &bundle, &case), expected);
    });
}

impl Holder {
    /// Holds a user namespace, whose ids begin at 65536 on the host, and namespaces owned by it.
    fn with_user_namespace() -> Self {
        let holder = Self::new(&["-U", "-n", "-i", "-u"]);
        for map in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{}/{map}", holder.0.id()), "0 65536 65536").unwrap();
        }
        holder
    }
}

/// runc has id-mapped mounts since 1.2 and passes over the mappings before: its `features` tell.
#[test]
fn an_id_mapped_mount_shows_the_hosts_owner() {
    with_runtimes(|runtime| {
        if runtime == "runc" {
            return;
        }
        let holder = Holder::with_user_namespace();
        let bundle = Bundle::new();
        fs::set_permissions(bundle.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let source = bundle.dir.path().join("source");
        fs::create_dir(&source).unwrap();
        std::os::unix::fs::chown(&source, Some(7), Some(8)).unwrap();
        let mut case = bundle
            .case("stat -c %u:%g /data")
            .with_user_namespace()
            .with_mount(source.to_str().unwrap(), "/data");
        let ids = vec![IdMapping { host_id: 65536, container_id: 0, length: 65536 }];
        case.last_mount().uid_mappings.clone_from(&ids);
        case.last_mount().gid_mappings = ids;
        case.namespaces = holder.pinned();
        assert_eq!(passes(runtime, &bundle, &case), "7:8\n");
    });
}

#[test]
fn a_user_namespace_is_joined() {
    with_runtimes(|runtime| {
        for network in [Sharing::Pod, Sharing::Node] {
            let holder = Holder::with_user_namespace();
            let bundle = Bundle::new();
            fs::set_permissions(bundle.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
            let mut case = bundle
                .case(
                    "readlink /proc/self/ns/user; cat /proc/self/uid_map; id -u; \
                       test -d /sys/kernel && echo sys",
                )
                .with_user_namespace();
            case.namespaces = holder.pinned();
            case.container.security.namespaces.network = network;
            let out = passes(runtime, &bundle, &case);
            let lines: Vec<&str> = out.lines().map(str::trim).collect();
            let map = lines[1].split_whitespace().collect::<Vec<_>>();
            assert_eq!(lines[0], holder.link("user"), "{runtime}");
            assert_eq!((map, &lines[2..]), (vec!["0", "65536", "65536"], &["0", "sys"][..]));
        }
    });
}
