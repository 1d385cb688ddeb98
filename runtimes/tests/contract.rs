// SPDX-License-Identifier: Apache-2.0
//! One suite for every OCI runtime: whatever is found on this host is driven through the argument
//! lists of this crate on a tiny bundle. Needs root and a statically linked busybox.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crisp_runtimes::{
    Abilities, Argv, Bundle, CgroupDriver, ExecFiles, Failure, Force, Kind, Runtime, Tty,
    last_error,
};

struct Bench {
    dir: tempfile::TempDir,
    runtime: Runtime,
}

impl Bench {
    fn new(kind: Kind, binary: PathBuf) -> Self {
        let dir = tempfile::Builder::new().prefix("crisp-contract-").tempdir().unwrap();
        let root = dir.path().join("state");
        write_bundle(dir.path());
        Self { dir, runtime: Runtime { kind, binary, root, cgroups: CgroupDriver::Cgroupfs } }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn log(&self) -> PathBuf {
        self.path("runtime.log")
    }

    fn create(&self, id: &str) -> Result<(), Failure> {
        let pid_file = self.path("init.pid");
        let bundle = Bundle { dir: self.dir.path(), pid_file: &pid_file, tty: Tty::None };
        self.run(self.runtime.create(id, bundle, &self.log()))
    }

    fn run(&self, argv: Argv) -> Result<(), Failure> {
        let _ = fs::remove_file(self.log());
        let status = Command::new(argv.program())
            .args(argv.args())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        if status.success() {
            return Ok(());
        }
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let text = last_error(&log).unwrap_or_else(|| format!("{status}, log {log:?}"));
        Err(Failure::of(self.runtime.kind, &text))
    }

    fn pid(&self, file: &str) -> i32 {
        fs::read_to_string(self.path(file)).unwrap().trim().parse().unwrap()
    }
}

fn write_bundle(dir: &Path) {
    let bin = dir.join("rootfs/bin");
    fs::create_dir_all(&bin).unwrap();
    fs::create_dir_all(dir.join("rootfs/proc")).unwrap();
    fs::create_dir_all(dir.join("rootfs/dev")).unwrap();
    fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
    for applet in ["sh", "sleep", "true"] {
        symlink("busybox", bin.join(applet)).unwrap();
    }
    fs::write(dir.join("config.json"), CONFIG).unwrap();
    fs::write(dir.join("exec.json"), PROCESS).unwrap();
}

const CONFIG: &str = r#"{"ociVersion":"1.0.2","root":{"path":"rootfs"},
"process":{"user":{"uid":0,"gid":0},"cwd":"/","args":["/bin/sleep","600"],"env":["PATH=/bin"]},
"mounts":[{"destination":"/proc","type":"proc","source":"proc"},
{"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["mode=755","size=64k"]}],
"linux":{"namespaces":[{"type":"pid"},{"type":"mount"},{"type":"ipc"},{"type":"uts"},{"type":"network"}],
"resources":{"memory":{"limit":67108864}}}}"#;
const PROCESS: &str =
    r#"{"user":{"uid":0,"gid":0},"cwd":"/","args":["/bin/sleep","600"],"env":["PATH=/bin"]}"#;

/// Runs `test` with each runtime found; says so when there is none.
fn with_each(test: impl Fn(&Bench)) {
    if !nix_is_root() {
        eprintln!("not run: needs root");
        return;
    }
    let mut found = 0;
    for kind in Kind::ALL {
        let dirs = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
        let Some(binary) = dirs.iter().map(|d| Path::new(d).join(kind.name())).find(|p| p.exists())
        else {
            continue;
        };
        found += 1;
        eprintln!("{kind}: {}", binary.display());
        mount_hugetlb_for_crun();
        test(&Bench::new(kind, binary));
    }
    assert!(found > 0, "no OCI runtime is installed");
}

fn nix_is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

/// crun up to 1.8 fails on cgroup v1 hosts where hugetlb is known but not mounted.
fn mount_hugetlb_for_crun() {
    let known = fs::read_to_string("/proc/cgroups").unwrap_or_default().contains("hugetlb");
    let v1 = Path::new("/sys/fs/cgroup/memory").exists();
    let dir = "/sys/fs/cgroup/hugetlb";
    if !known || !v1 || Path::new(dir).join("tasks").exists() {
        return;
    }
    fs::create_dir_all(dir).unwrap();
    let args = ["-t", "cgroup", "-o", "hugetlb", "none", dir];
    assert!(Command::new("mount").args(args).status().unwrap().success());
}

fn alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn eventually(what: &str, test: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !test() {
        assert!(Instant::now() < end, "not within 5 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_container_lives_from_create_to_delete() {
    with_each(|bench| {
        let (rt, log) = (&bench.runtime, bench.log());
        bench.create("life").unwrap();
        let init = bench.pid("init.pid");
        assert!(alive(init));
        bench.run(rt.start("life", &log)).unwrap();
        let (process, pid_file) = (bench.path("exec.json"), bench.path("exec.pid"));
        let files = ExecFiles { process: &process, pid_file: &pid_file, tty: Tty::None };
        bench.run(rt.exec("life", files, &log)).unwrap();
        assert!(alive(bench.pid("exec.pid")));
        bench.run(rt.pause("life", &log)).unwrap();
        bench.run(rt.resume("life", &log)).unwrap();
        fs::write(bench.path("res.json"), r#"{"memory":{"limit":33554432}}"#).unwrap();
        bench.run(rt.update("life", &bench.path("res.json"), &log)).unwrap();
        bench.run(rt.kill("life", 9, &log)).unwrap();
        eventually("init is gone", || !alive(init));
        bench.run(rt.delete("life", Force::No, &log)).unwrap();
        assert_eq!(bench.run(rt.delete("life", Force::No, &log)), Err(Failure::NotFound));
    });
}

#[test]
fn refusals_are_told_apart() {
    with_each(|bench| {
        let (rt, log) = (&bench.runtime, bench.log());
        assert_eq!(bench.run(rt.start("nobody", &log)), Err(Failure::NotFound));
        assert_eq!(bench.run(rt.delete("nobody", Force::No, &log)), Err(Failure::NotFound));
        bench.create("twice").unwrap();
        assert_eq!(bench.create("twice"), Err(Failure::AlreadyExists));
        bench.run(rt.start("twice", &log)).unwrap();
        assert_eq!(bench.run(rt.start("twice", &log)), Err(Failure::Running));
        assert_eq!(bench.run(rt.delete("twice", Force::No, &log)), Err(Failure::Running));
        bench.run(rt.delete("twice", Force::Yes, &log)).unwrap();
    });
}

#[test]
fn a_command_that_does_not_exist_is_told_in_the_runtimes_words() {
    with_each(|bench| {
        let bad = CONFIG.replace("/bin/sleep", "/bin/nothing-here");
        fs::write(bench.path("config.json"), bad).unwrap();
        let made =
            bench.create("bad").and_then(|()| bench.run(bench.runtime.start("bad", &bench.log())));
        let Err(Failure::Other { text }) = made else {
            panic!("not refused as expected: {made:?}")
        };
        assert!(text.contains("/bin/nothing-here"), "{text}");
        let _ = bench.run(bench.runtime.delete("bad", Force::Yes, &bench.log()));
    });
}

#[test]
fn what_a_runtime_can_do_is_known() {
    with_each(|bench| {
        let output = |argv: Argv| {
            let out = Command::new(argv.program()).args(argv.args()).output().unwrap();
            out.status.success().then(|| String::from_utf8(out.stdout).unwrap())
        };
        let kind = bench.runtime.kind;
        let abilities = match output(bench.runtime.features()) {
            Some(text) => Abilities::parse(kind, &text).unwrap(),
            None => Abilities::of_version(kind, &output(bench.runtime.version()).unwrap()),
        };
        eprintln!("{abilities:?}");
        assert!(abilities.oci_version.starts_with("1."));
    });
}
