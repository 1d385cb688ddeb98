// SPDX-License-Identifier: Apache-2.0
//! A shim under test and the bundles it is given.

use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use containerd_shim_protos::{
    api::{
        ConnectRequest, CreateTaskRequest, DeleteRequest, DeleteResponse, ExecProcessRequest,
        KillRequest, ShutdownRequest, StartRequest, StateRequest, StateResponse, WaitRequest,
        WaitResponse,
    },
    bootstrap_api::BootstrapParams,
    sandbox_async::SandboxClient,
    shim_async::{Client, TaskClient},
};
use crisp_podio::RuntimeOptions;
use crisp_runtimes::Kind;
use protobuf::{Message, well_known_types::any::Any};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use ttrpc::context::{Context, with_duration};

/// The binary under test: CRISP_SHIM names another build of it than cargo's.
fn binary() -> PathBuf {
    let built = env!("CARGO_BIN_EXE_containerd-shim-crisp-v1");
    std::env::var_os("CRISP_SHIM").map_or_else(|| built.into(), PathBuf::from)
}

pub(crate) const NAMESPACE: &str = "crisp-test";
const DEADLINE: Duration = Duration::from_secs(30);

/// One shim, one directory, one runtime.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) kind: Kind,
    pub(crate) task: TaskClient,
    pub(crate) sandbox: SandboxClient,
    pub(crate) address: String,
    pub(crate) shim_pid: u32,
    binary: PathBuf,
}

/// Every runtime on this host; without root there is nothing to test with.
pub(crate) fn runtimes() -> Vec<(Kind, PathBuf)> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: needs root");
        return Vec::new();
    }
    mount_hugetlb_for_crun();
    let dirs = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"].map(Path::new);
    let at = |kind: Kind| dirs.iter().map(|d| d.join(kind.name())).find(|p| p.exists());
    let found: Vec<_> =
        [Kind::Runc, Kind::Crun].into_iter().filter_map(|k| Some((k, at(k)?))).collect();
    assert!(!found.is_empty(), "no OCI runtime is installed");
    found
}

/// Runs `test` with a fresh bench for each runtime.
pub(crate) async fn with_each<F: Future<Output = Bench>>(test: impl Fn(Bench) -> F) {
    for (kind, binary) in runtimes() {
        eprintln!("with {kind}");
        test(Bench::new(kind, binary).await).await.close().await;
    }
}

/// crun up to 1.8 fails on cgroup v1 hosts where hugetlb is known but not mounted.
fn mount_hugetlb_for_crun() {
    let known = fs::read_to_string("/proc/cgroups").unwrap_or_default().contains("hugetlb");
    let dir = Path::new("/sys/fs/cgroup/hugetlb");
    let v1 = Path::new("/sys/fs/cgroup/memory").exists();
    if known && v1 && !dir.join("tasks").exists() {
        fs::create_dir_all(dir).unwrap();
        let mount = ["-t", "cgroup", "-o", "hugetlb", "none"];
        Command::new("mount").args(mount).arg(dir).status().unwrap();
    }
}

fn any<M: Message>(package: &str, message: &M) -> Any {
    let type_url = format!("{package}.{}", M::NAME);
    Any { type_url, value: message.write_to_bytes().unwrap(), ..Any::default() }
}

pub(crate) fn podio_any<M: Message>(message: &M) -> Any {
    any("crisp.podio.v1", message)
}

pub(crate) fn soon() -> Context {
    with_duration(DEADLINE)
}

/// Starts a shim for `id` by its `start` verb and answers with its address.
pub(crate) fn start_shim(dir: &Path, id: &str) -> String {
    let mut params = BootstrapParams::new();
    params.instance_id = id.to_owned();
    params.namespace = NAMESPACE.to_owned();
    params.socket_dir = Some(dir.join("s").to_string_lossy().into_owned());
    let reply = run_verb(dir, id, "start", &params.write_to_bytes().unwrap());
    let reply: Value = serde_json::from_slice(&reply).unwrap();
    assert_eq!((&reply["version"], &reply["protocol"]), (&json!(3), &json!("ttrpc")));
    reply["address"].as_str().unwrap().to_owned()
}

/// Runs a verb of the binary in the bundle of `id`; answers with its stdout.
pub(crate) fn run_verb(dir: &Path, id: &str, verb: &str, stdin: &[u8]) -> Vec<u8> {
    let bundle = dir.join("bundles").join(id);
    fs::create_dir_all(&bundle).unwrap();
    let mut child = Command::new(binary())
        .args(["-namespace", NAMESPACE, "-address", "/x", "-publish-binary", "/bin/true"])
        .args(["-id", id, verb])
        .env_remove("TTRPC_ADDRESS")
        .current_dir(&bundle)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{verb}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

impl Bench {
    pub(crate) async fn new(kind: Kind, binary: PathBuf) -> Self {
        let dir = tempfile::Builder::new().prefix("crisp-shim-").tempdir().unwrap();
        Self::adopt(dir, kind, binary, "pod").await
    }

    /// The shim of pod `id` in `dir`, running or not.
    pub(crate) async fn adopt(dir: TempDir, kind: Kind, binary: PathBuf, id: &str) -> Self {
        let address = start_shim(dir.path(), id);
        let (task, sandbox) = clients(&address).await;
        let connected = task.connect(soon(), &ConnectRequest::new()).await.unwrap();
        Self { dir, kind, task, sandbox, address, shim_pid: connected.shim_pid, binary }
    }

    pub(crate) fn bundle(&self, id: &str) -> PathBuf {
        self.dir.path().join("bundles").join(id)
    }

    pub(crate) fn runtime_options(&self) -> RuntimeOptions {
        let mut options = RuntimeOptions::new();
        options.kind = self.kind.name().to_owned();
        options.binary = self.binary.to_string_lossy().into_owned();
        options.root = self.dir.path().join("state").to_string_lossy().into_owned();
        options
    }

    /// Writes a bundle whose init runs `args`; `change` may alter the spec.
    pub(crate) fn write_bundle(&self, id: &str, args: &[&str], change: impl FnOnce(&mut Value)) {
        let bundle = self.bundle(id);
        let bin = bundle.join("rootfs/bin");
        fs::create_dir_all(&bin).unwrap();
        for dir in ["proc", "dev", "tmp"] {
            fs::create_dir_all(bundle.join("rootfs").join(dir)).unwrap();
        }
        fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        for applet in
            ["sh", "sleep", "cat", "echo", "true", "false", "ps", "tail", "hostname", "dd"]
        {
            let _ = symlink("busybox", bin.join(applet));
        }
        let mut spec = json!({
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs"},
            "process": process(args),
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                 "options": ["mode=755", "size=64k"]},
            ],
            "linux": {
                "cgroupsPath": format!("/crisp-shim-test-{id}-{}", self.shim_pid),
                "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}],
                "resources": {"memory": {"limit": 67_108_864}},
            },
        });
        change(&mut spec);
        fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
    }

    pub(crate) fn create_request(&self, id: &str) -> CreateTaskRequest {
        CreateTaskRequest {
            id: id.to_owned(),
            bundle: self.bundle(id).to_string_lossy().into_owned(),
            options: Some(podio_any(&self.runtime_options())).into(),
            ..CreateTaskRequest::default()
        }
    }

    /// The same by the program at `runtime`, which may take `deadline_s`; 0 is the default.
    pub(crate) fn create_request_by(
        &self,
        runtime: &Path,
        deadline_s: u32,
        id: &str,
    ) -> CreateTaskRequest {
        let binary = runtime.to_string_lossy().into_owned();
        let options = RuntimeOptions { binary, deadline_s, ..self.runtime_options() };
        CreateTaskRequest { options: Some(podio_any(&options)).into(), ..self.create_request(id) }
    }

    pub(crate) async fn create(&self, id: &str) -> u32 {
        self.task.create(soon(), &self.create_request(id)).await.unwrap().pid
    }

    /// Makes and starts a container that runs `args`.
    pub(crate) async fn run(&self, id: &str, args: &[&str]) -> u32 {
        self.write_bundle(id, args, |_| ());
        let pid = self.create(id).await;
        self.start(id, "").await.unwrap();
        pid
    }

    pub(crate) async fn start(&self, id: &str, exec_id: &str) -> ttrpc::Result<u32> {
        let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
        let request = StartRequest { id, exec_id, ..StartRequest::default() };
        self.task.start(soon(), &request).await.map(|r| r.pid)
    }

    pub(crate) async fn wait(&self, id: &str, exec_id: &str) -> WaitResponse {
        let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
        let request = WaitRequest { id, exec_id, ..WaitRequest::default() };
        self.task.wait(soon(), &request).await.unwrap()
    }

    pub(crate) async fn state(&self, id: &str, exec_id: &str) -> StateResponse {
        let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
        let request = StateRequest { id, exec_id, ..StateRequest::default() };
        self.task.state(soon(), &request).await.unwrap()
    }

    pub(crate) async fn kill(&self, id: &str, exec_id: &str, signal: u32) -> ttrpc::Result<()> {
        let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
        let request = KillRequest { id, exec_id, signal, ..KillRequest::default() };
        self.task.kill(soon(), &request).await.map(|_| ())
    }

    pub(crate) async fn delete(&self, id: &str, exec_id: &str) -> ttrpc::Result<DeleteResponse> {
        let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
        let request = DeleteRequest { id, exec_id, ..DeleteRequest::default() };
        self.task.delete(soon(), &request).await
    }

    /// Registers an exec of `args` whose stdout is `stdout` (a path, or nothing).
    pub(crate) async fn exec(
        &self,
        id: &str,
        exec_id: &str,
        args: &[&str],
        stdout: &str,
    ) -> ttrpc::Result<()> {
        self.add_exec(id, exec_id, process(args), stdout).await
    }

    /// The same, with a terminal.
    pub(crate) async fn exec_with_terminal(
        &self,
        id: &str,
        exec_id: &str,
        args: &[&str],
        stdout: &str,
    ) -> ttrpc::Result<()> {
        let mut process = process(args);
        process["terminal"] = true.into();
        self.add_exec(id, exec_id, process, stdout).await
    }

    async fn add_exec(
        &self,
        id: &str,
        exec_id: &str,
        process: Value,
        stdout: &str,
    ) -> ttrpc::Result<()> {
        let spec = Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
            value: process.to_string().into_bytes(),
            ..Any::default()
        };
        let request = ExecProcessRequest {
            id: id.to_owned(),
            exec_id: exec_id.to_owned(),
            terminal: process["terminal"].as_bool().unwrap_or(false),
            stdout: stdout.to_owned(),
            spec: Some(spec).into(),
            ..ExecProcessRequest::default()
        };
        self.task.exec(soon(), &request).await.map(|_| ())
    }

    /// Ends the shim; fails when it does not go, or leaves something behind.
    pub(crate) async fn close(self) {
        let request = ShutdownRequest { now: true, ..ShutdownRequest::default() };
        self.task.shutdown(soon(), &request).await.unwrap();
        eventually("the shim is gone", || !alive(self.shim_pid)).await;
        let left = fs::read_dir(self.dir.path().join("s")).unwrap().count();
        assert_eq!(left, 0, "sockets are left");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.dir.path().to_str().unwrap()), "mounts are left");
    }
}

/// A test that failed leaves nothing either.
impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.shim_pid.cast_signed())
            && alive(self.shim_pid)
        {
            let _ = kill_process(pid, Signal::KILL);
            for bundle in fs::read_dir(self.dir.path().join("bundles")).into_iter().flatten() {
                let id = bundle.unwrap().file_name().into_string().unwrap();
                run_verb(self.dir.path(), &id, "delete", b"");
            }
        }
    }
}

pub(crate) async fn clients(address: &str) -> (TaskClient, SandboxClient) {
    let client = Client::connect(address).await.unwrap();
    (TaskClient::new(client.clone()), SandboxClient::new(client))
}

pub(crate) fn process(args: &[&str]) -> Value {
    json!({"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": args, "env": ["PATH=/bin"]})
}

/// Whether a process is there and no zombie.
pub(crate) fn alive(pid: u32) -> bool {
    crisp_words::runs(&fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default())
}

pub(crate) async fn eventually(what: &str, test: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !test() {
        assert!(Instant::now() < end, "not within 10 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn code(error: &ttrpc::Error) -> ttrpc::Code {
    match error {
        ttrpc::Error::RpcStatus(status) => status.code(),
        other => panic!("no status: {other}"),
    }
}
