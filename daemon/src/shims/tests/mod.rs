// SPDX-License-Identifier: Apache-2.0
//! Shims driven as the daemon drives them: a Go one, crisp's own, and some that misbehave.

mod crisp_shim;
mod go_shim;
mod io_helper;
mod script;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crisp_words::ContainerId;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{
    BootstrapResult, CreateTask, Dialect, EventServer, EventsTo, ExecIo, Launch, Launcher, LogPipe,
    Options, ShimClient, ShimTarget, StdioAddresses, TaskRef, Verbosity,
};

const SOON: Duration = Duration::from_secs(20);
/// A shim in a namespace of its own, and one bundle.
struct Rig {
    binary: PathBuf,
    dir: tempfile::TempDir,
    launcher: Launcher,
    events: EventServer,
    id: ContainerId,
    options: Options,
    _log: LogPipe,
}

impl Rig {
    /// `None`, and why on standard error, where the parts are missing or we are not root.
    async fn new(binary: &Path, id: &str, options: impl FnOnce(&Path) -> Options) -> Option<Self> {
        let parts = [binary, Path::new("/usr/sbin/runc"), Path::new("/bin/busybox")];
        let missing = parts.into_iter().find(|part| !part.exists());
        if missing.is_some() || !rustix::process::geteuid().is_root() {
            eprintln!("not run: needs root and {parts:?}; missing: {missing:?}");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let events = dir.path().join("events.sock");
        let server = EventServer::bind(&events).await.unwrap();
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
        let options = options(dir.path());
        Some(Self {
            binary: binary.to_owned(),
            dir,
            launcher,
            events: server,
            id,
            options,
            _log: log,
        })
    }

    fn bundle(&self) -> PathBuf {
        self.dir.path().join(self.id.as_str())
    }

    fn set_args(&self, args: &[&str]) {
        let config = self.bundle().join("config.json");
        let mut spec: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
        spec["process"]["args"] = json!(args);
        fs::write(config, spec.to_string()).unwrap();
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
            binary: &self.binary,
            id: self.id.as_str(),
            bundle,
            dialect,
            options: None,
            events: EventsTo::Daemon,
            socket_dir: Some(self.dir.path()),
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
