// SPDX-License-Identifier: Apache-2.0
//! Real shims: Debian's containerd-shim-runc-v2, driven as the daemon does.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crisp_words::{ContainerId, ExecId};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::{
    BootstrapResult, CreateTask, Dialect, EventServer, ExecIo, ExecTask, Hint, KillScope, Launch,
    Launcher, LogPipe, Options, RuncOptions, ShimClient, ShimError, ShimTarget, StdioAddresses,
    TaskApi, TaskRef, TaskStatus, Verbosity,
};

const SOON: Duration = Duration::from_secs(20);
const SHIM: &str = "/usr/bin/containerd-shim-runc-v2";

/// A runc shim in a namespace of its own, and one bundle.
struct Rig {
    dir: tempfile::TempDir,
    launcher: Launcher,
    events: EventServer,
    id: ContainerId,
    options: Options,
    _log: LogPipe,
}

impl Rig {
    /// `None`, and why on standard error, where the parts are missing or we are not root.
    async fn new(id: &str) -> Option<Self> {
        let parts = [SHIM, "/usr/sbin/runc", "/bin/busybox"];
        let missing = parts.into_iter().find(|part| !Path::new(part).exists());
        if missing.is_some() || !rustix::process::geteuid().is_root() {
            eprintln!("not run: needs root and {parts:?}; missing: {missing:?}");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let events = dir.path().join("events.sock");
        let server = EventServer::bind(&events).await.unwrap();
        let runc = RuncOptions {
            root: dir.path().join("runc").display().to_string(),
            ..Default::default()
        };
        let launcher = Launcher::new(
            "crisp-test".to_owned(),
            events,
            "/proc/self/exe".into(),
            Verbosity::Normal,
        );
        let id = ContainerId::new(id).unwrap();
        let bundle = dir.path().join(id.as_str());
        make_bundle(&bundle);
        let log = LogPipe::open(&bundle, id.as_str()).unwrap();
        let options = Options::runc(&runc);
        Some(Self { dir, launcher, events: server, id, options, _log: log })
    }

    fn bundle(&self) -> PathBuf {
        self.dir.path().join(self.id.as_str())
    }

    fn process_json(&self, script: &str) -> Vec<u8> {
        let config = fs::read(self.bundle().join("config.json")).unwrap();
        let mut process = serde_json::from_slice::<Value>(&config).unwrap()["process"].take();
        process["args"] = json!(["sh", "-c", script]);
        process.to_string().into_bytes()
    }

    async fn connect(&self, dialect: Dialect) -> ShimClient {
        let bundle = self.bundle();
        let started = self.launcher.start(&self.launch(&bundle, dialect), SOON).await.unwrap();
        started.save(&bundle).unwrap();
        let loaded = BootstrapResult::load(&bundle).unwrap();
        assert_eq!(loaded, started);
        let target = ShimTarget {
            address: loaded.address,
            namespace: "crisp-test".to_owned(),
            task_api: loaded.task_api,
        };
        ShimClient::connect(target, SOON).await.unwrap()
    }

    fn launch<'a>(&'a self, bundle: &'a Path, dialect: Dialect) -> Launch<'a> {
        Launch {
            binary: Path::new(SHIM),
            id: self.id.as_str(),
            bundle,
            dialect,
            options: None,
            socket_dir: None,
            environment: Vec::new(),
        }
    }

    async fn create(&self, shim: &ShimClient, stdio: StdioAddresses) -> u32 {
        let create = CreateTask {
            task: TaskRef::container(&self.id),
            bundle: &self.bundle(),
            stdio,
            rootfs: Vec::new(),
            options: Some(self.options.clone()),
        };
        shim.create(create, SOON).await.unwrap()
    }
}

fn make_bundle(bundle: &Path) {
    let bin = bundle.join("rootfs/bin");
    fs::create_dir_all(&bin).unwrap();
    fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
    for name in ["sh", "sleep", "echo", "head"] {
        std::os::unix::fs::symlink("busybox", bin.join(name)).unwrap();
    }
    let spec = Command::new("runc").arg("spec").current_dir(bundle).status().unwrap();
    assert!(spec.success());
    let config = bundle.join("config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(["sh", "-c", "echo started; sleep 1000 & wait"]);
    fs::write(config, spec.to_string()).unwrap();
}

/// Ends the shim of a test whatever became of it.
struct Reap(u32);

impl Drop for Reap {
    fn drop(&mut self) {
        kill(self.0);
    }
}

fn kill(pid: u32) {
    if let Some(pid) = Pid::from_raw(pid.try_into().unwrap()) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn paths(io: &ExecIo) -> StdioAddresses {
    StdioAddresses {
        stdout: io.stdout_path().display().to_string(),
        stderr: io.stderr_path().display().to_string(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_a_go_shim_lives_from_create_to_shutdown() {
    let Some(rig) = Rig::new("life").await else { return };
    let mut hints = rig.events.subscribe();
    let shim = rig.connect(Dialect::Auto).await;
    let task = TaskRef::container(&rig.id);
    let io = ExecIo::create(rig.dir.path(), "init").unwrap();
    let pid = rig.create(&shim, paths(&io)).await;
    let connected = shim.connected(task, SOON).await.unwrap();
    let _reap = Reap(connected.shim_pid);
    assert_eq!(connected.task_pid, pid);
    let waiter = tokio::spawn({
        let (shim, id) = (shim.clone(), rig.id.clone());
        async move { shim.wait(TaskRef::container(&id)).await }
    });
    assert_eq!(shim.state(task, SOON).await.unwrap().status, TaskStatus::Created);
    assert_eq!(shim.start(task, SOON).await.unwrap(), pid);
    let state = shim.state(task, SOON).await.unwrap();
    assert_eq!((state.status, state.pid), (TaskStatus::Running, pid));
    assert_eq!(state.stdio, paths(&io));
    assert!(shim.pids(task, SOON).await.unwrap().contains(&pid));
    shim.stats(task, SOON).await.unwrap();

    exec(&rig, &shim).await;

    shim.kill(task, 9, KillScope::Container, SOON).await.unwrap();
    let exit = timeout(SOON, waiter).await.unwrap().unwrap().unwrap();
    assert_eq!(exit.status, 137);
    assert!(exit.exited_at_ns.is_some());
    assert_eq!(shim.state(task, SOON).await.unwrap().exit.unwrap().status, 137);
    assert!(shim.kill(task, 9, KillScope::Process, SOON).await.unwrap_err().is_not_found());
    assert_eq!(shim.delete(task, SOON).await.unwrap().status, 137);
    assert!(shim.state(task, SOON).await.unwrap_err().is_not_found());
    let (output, ()) = io.collect(async {}).await;
    assert_eq!(output.stdout, b"started\n");

    loop {
        let hint = timeout(SOON, hints.recv()).await.unwrap().unwrap();
        if let Hint::Exit { container, exec: None, status, .. } = hint {
            assert_eq!((container.as_str(), status), ("life", 137));
            break;
        }
    }
    shim.shutdown(task, SOON).await.unwrap();
    timeout(SOON, shim.closed()).await.expect("the end of the shim was not seen");
    assert!(shim.is_closed());
    assert!(shim.connected(task, SOON).await.unwrap_err().is_dead());
}

async fn exec(rig: &Rig, shim: &ShimClient) {
    let exec = ExecId::new("probe").unwrap();
    let task = TaskRef::exec(&rig.id, &exec);
    let io = ExecIo::create(rig.dir.path(), "probe").unwrap();
    let request = ExecTask {
        task,
        stdio: paths(&io),
        process_json: rig.process_json("echo out; echo err >&2; sleep 30 & exit 5"),
    };
    shim.exec(request.clone(), SOON).await.unwrap();
    let twice = shim.exec(request, SOON).await.unwrap_err();
    assert!(matches!(twice, ShimError::AlreadyExists { .. }), "{twice}");
    shim.start(task, SOON).await.unwrap();
    let start = Instant::now();
    let (output, exit) = io.collect(shim.wait(task)).await;
    assert!(start.elapsed() < Duration::from_secs(5), "the background child held it up");
    assert_eq!(exit.unwrap().status, 5);
    assert_eq!((output.stdout, output.stderr), (b"out\n".to_vec(), b"err\n".to_vec()));
    shim.delete(task, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_a_shim_is_seen_and_its_container_is_buried() {
    let Some(rig) = Rig::new("death").await else { return };
    let shim = rig.connect(Dialect::Legacy).await;
    let task = TaskRef::container(&rig.id);
    let pid = rig.create(&shim, StdioAddresses::default()).await;
    shim.start(task, SOON).await.unwrap();
    let waiter = tokio::spawn({
        let (shim, id) = (shim.clone(), rig.id.clone());
        async move { shim.wait(TaskRef::container(&id)).await }
    });
    let shim_pid = shim.connected(task, SOON).await.unwrap().shim_pid;
    kill(shim_pid);
    timeout(SOON, shim.closed()).await.expect("the death was not seen");
    let error = timeout(SOON, waiter).await.unwrap().unwrap().unwrap_err();
    assert!(error.is_dead(), "{error}");
    assert!(Path::new(&format!("/proc/{pid}")).exists(), "the container died too");
    let bundle = rig.bundle();
    // runc needs to be told its root, which the shim reads from its own file.
    let buried = rig.launcher.delete(&rig.launch(&bundle, Dialect::Legacy), SOON).await.unwrap();
    assert_eq!(buried.status, 137);
    let gone = async {
        while Path::new(&format!("/proc/{pid}/ns/pid")).exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, gone).await.expect("the container was left alive");
    let _ = fs::remove_file(shim.address().trim_start_matches("unix://"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_go_shim_answers_32000_parallel_calls() {
    let Some(rig) = Rig::new("parallel").await else { return };
    let shim = rig.connect(Dialect::Legacy).await;
    let task = TaskRef::container(&rig.id);
    let _reap = Reap(shim.connected(task, SOON).await.unwrap().shim_pid);
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let (shim, id) = (shim.clone(), rig.id.clone());
            tokio::spawn(async move {
                for _ in 0..2000 {
                    shim.connected(TaskRef::container(&id), SOON).await.unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    shim.shutdown(task, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_api_that_the_shim_does_not_serve_is_corrected() {
    let Some(rig) = Rig::new("downgrade").await else { return };
    let told = rig.connect(Dialect::Legacy).await;
    let task = TaskRef::container(&rig.id);
    let target = ShimTarget {
        address: told.address().to_owned(),
        namespace: "crisp-test".to_owned(),
        task_api: told.task_api().other(),
    };
    let shim = ShimClient::connect(target, SOON).await.unwrap();
    let _reap = Reap(shim.connected(task, SOON).await.unwrap().shim_pid);
    assert_eq!(shim.task_api(), told.task_api());
    assert_eq!(told.task_api(), TaskApi::V2);
    let unserved = shim.reopen_log(&rig.id, SOON).await.unwrap_err();
    assert!(matches!(unserved, ShimError::Unimplemented { .. }), "{unserved}");
    shim.shutdown(task, SOON).await.unwrap();
}

#[tokio::test]
async fn a_stopped_shim_costs_its_callers_their_deadline_and_no_more() {
    let Some(rig) = Rig::new("stuck").await else { return };
    let shim = rig.connect(Dialect::Legacy).await;
    let task = TaskRef::container(&rig.id);
    let pid = shim.connected(task, SOON).await.unwrap().shim_pid;
    let _reap = Reap(pid);
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let short = Duration::from_millis(100);
    for _ in 0..3 {
        let error = shim.connected(task, short).await.unwrap_err();
        assert!(matches!(error, ShimError::Deadline { .. }), "{error}");
    }
    kill_process(pid, Signal::CONT).unwrap();
    shim.connected(task, SOON).await.expect("the connection did not survive the deadlines");
    shim.shutdown(task, SOON).await.unwrap();
}

/// A shim that is a shell script.
struct Script(tempfile::TempDir);

impl Script {
    fn new(text: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shim");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(dir)
    }

    async fn start(&self, deadline: Duration) -> Result<BootstrapResult, ShimError> {
        let launcher = Launcher::new(
            "crisp-test".to_owned(),
            "/none".into(),
            "/none".into(),
            Verbosity::Debug,
        );
        let launch = Launch {
            binary: &self.0.path().join("shim"),
            id: "c",
            bundle: self.0.path(),
            dialect: Dialect::Auto,
            options: None,
            socket_dir: None,
            environment: Vec::new(),
        };
        launcher.start(&launch, deadline).await
    }
}

#[tokio::test]
async fn a_warning_on_standard_error_does_not_spoil_the_answer() {
    let shim = Script::new("echo careful >&2; echo unix:///run/s/a");
    assert_eq!(shim.start(SOON).await.unwrap().address, "unix:///run/s/a");
}

#[tokio::test]
async fn a_server_that_keeps_the_output_open_does_not_hold_up_the_start() {
    let shim = Script::new("sleep 5 & echo unix:///run/s/a");
    let start = Instant::now();
    shim.start(SOON).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_shim_that_fails_is_quoted() {
    let shim = Script::new("echo no such luck >&2; exit 3");
    let error = shim.start(SOON).await.unwrap_err().to_string();
    assert!(error.contains("no such luck") && error.contains("exit status: 3"), "{error}");
}

#[tokio::test]
async fn a_shim_that_hangs_is_killed_with_all_that_it_started() {
    let shim = Script::new("sleep 1000 & echo $! > child; wait");
    let error = shim.start(Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(error, ShimError::Deadline { .. }), "{error}");
    let child = fs::read_to_string(shim.0.path().join("child")).unwrap();
    let status = format!("/proc/{}/status", child.trim());
    let dead = async {
        while fs::read_to_string(&status).is_ok_and(|s| !s.contains("State:\tZ")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, dead).await.expect("its child lives on");
}

#[tokio::test]
async fn a_shim_that_reads_only_the_old_dialect_is_started_in_it() {
    // Params name the instance first; an empty Any is nothing at all.
    let shim = Script::new("[ -z \"$(cat | tr -d '\\0')\" ] && echo unix:///run/s/a");
    assert_eq!(shim.start(SOON).await.unwrap().address, "unix:///run/s/a");
}

#[tokio::test]
async fn a_missing_shim_is_named() {
    let script = Script::new("");
    fs::remove_file(script.0.path().join("shim")).unwrap();
    let error = script.start(SOON).await.unwrap_err();
    assert!(matches!(error, ShimError::Spawn { .. }), "{error}");
    assert!(error.to_string().contains("/shim: No such file"), "{error}");
}
