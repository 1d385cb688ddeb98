// SPDX-License-Identifier: Apache-2.0
//! crisp's own shim: what it does beyond the others.

use std::{
    env, fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use crisp_podio::{ContainerOptions, RuntimeOptions, SandboxOptions};
use crisp_words::{ExecId, SandboxId, Stdio};
use tokio::time::timeout;

use super::{
    super::{
        AttachStreams, CreateSandbox, Dialect, ExecIo, ExecTask, KillScope, Options, SandboxState,
        ShimClient, StdioAddresses, TaskRef,
    },
    Reap, Rig, SOON, paths,
};

/// The shim: `CRISP_SHIM`, or the one built beside this test.
pub(super) fn binary() -> PathBuf {
    env::var_os("CRISP_SHIM").map_or_else(
        || {
            let test = env::current_exe().unwrap();
            test.parent().and_then(|deps| deps.parent()).unwrap().join("containerd-shim-crisp-v1")
        },
        PathBuf::from,
    )
}

fn runtime(dir: &std::path::Path) -> RuntimeOptions {
    RuntimeOptions {
        kind: "runc".to_owned(),
        binary: "/usr/sbin/runc".to_owned(),
        root: dir.join("runc").display().to_string(),
        ..Default::default()
    }
}

async fn rig(id: &str) -> Option<Rig> {
    Rig::new(&binary(), id, |dir| {
        let runtime = Some(runtime(dir)).into();
        Options::crisp_container(&ContainerOptions { runtime, ..Default::default() })
    })
    .await
}

fn texts(log: &str) -> Vec<&str> {
    log.lines().map(|line| &line[31..]).collect()
}

async fn start(rig: &Rig, script: &str) -> (ShimClient, Reap) {
    let shim = rig.connect(Dialect::Auto).await;
    let task = TaskRef::container(&rig.id);
    let reap = Reap(shim.connected(task, SOON).await.unwrap().shim_pid);
    rig.set_args(&["sh", "-c", script]);
    let log = Stdio::CriLog(rig.dir.path().join("0.log")).to_string();
    let stdio = StdioAddresses {
        stdin: Stdio::Attach.to_string(),
        stdout: log.clone(),
        stderr: log,
        terminal: false,
    };
    rig.create(&shim, stdio).await;
    shim.start(task, SOON).await.unwrap();
    (shim, reap)
}

async fn finish(rig: &Rig, shim: &ShimClient) {
    let task = TaskRef::container(&rig.id);
    shim.delete(task, SOON).await.unwrap();
    shim.shutdown(task, SOON).await.unwrap();
    timeout(SOON, shim.closed()).await.expect("the shim stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_written_rotated_and_complete_at_the_exit() {
    let Some(rig) = rig("crisp-log").await else { return };
    let (shim, _reap) = start(&rig, "echo one; read x; echo $x; echo two >&2; printf end").await;
    let (path, old) = (rig.dir.path().join("0.log"), rig.dir.path().join("0.log.1"));
    while fs::read_to_string(&path).unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    fs::rename(&path, &old).unwrap();
    shim.reopen_log(&rig.id, SOON).await.unwrap();
    assert!(path.exists());

    let both = AttachStreams { stdin: true, stdout: true, stderr: true };
    let socket = shim.attach(&rig.id, both, SOON).await.unwrap();
    let mut socket = UnixStream::connect(socket).unwrap();
    socket.write_all(b"\0\0\0\0\x06hello\n").unwrap();
    let exit = timeout(SOON, shim.wait(TaskRef::container(&rig.id))).await.unwrap().unwrap();
    assert_eq!(exit.status, 0);
    // An exit is told only when all output is in the log.
    shim.drained(&rig.id, SOON).await.unwrap();
    assert_eq!(texts(&fs::read_to_string(&old).unwrap()), ["stdout F one"]);
    let log = fs::read_to_string(&path).unwrap();
    let mut lines = texts(&log);
    lines.sort_unstable();
    assert_eq!(lines, ["stderr F two", "stdout F hello", "stdout P end"]);
    let mut seen = Vec::new();
    socket.read_to_end(&mut seen).unwrap();
    let text = String::from_utf8_lossy(&seen);
    assert!(["hello", "two", "end"].iter().all(|part| text.contains(part)), "{text:?}");
    finish(&rig, &shim).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_writes_to_the_daemons_pipes() {
    let Some(rig) = rig("crisp-exec").await else { return };
    let (shim, _reap) = start(&rig, "sleep 1000").await;
    for n in 0..20 {
        let exec = ExecId::new(format!("probe-{n}")).unwrap();
        let task = TaskRef::exec(&rig.id, &exec);
        let io = ExecIo::create(rig.dir.path(), exec.as_str()).unwrap();
        let request = ExecTask {
            task,
            stdio: paths(&io),
            process_json: rig.process_json("echo out; echo err >&2; exit 5"),
        };
        shim.exec(request, SOON).await.unwrap();
        shim.start(task, SOON).await.unwrap();
        let (output, exit) = io.collect(shim.wait(task)).await;
        assert_eq!(exit.unwrap().status, 5);
        assert_eq!((output.stdout, output.stderr), (b"out\n".to_vec(), b"err\n".to_vec()));
        shim.delete(task, SOON).await.unwrap();
    }
    let task = TaskRef::container(&rig.id);
    shim.kill(task, 9, KillScope::Process, SOON).await.unwrap();
    assert_eq!(timeout(SOON, shim.wait(task)).await.unwrap().unwrap().status, 137);
    finish(&rig, &shim).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_lives_from_create_to_shutdown() {
    let Some(rig) = rig("crisp-sandbox").await else { return };
    let shim = rig.connect(Dialect::Params).await;
    let _reap = Reap(shim.connected(TaskRef::container(&rig.id), SOON).await.unwrap().shim_pid);
    let id = SandboxId::new(rig.id.as_str()).unwrap();
    let options = SandboxOptions {
        own_ipc: true,
        own_uts: true,
        pin_dir: rig.dir.path().join("ns").display().to_string(),
        runtime: Some(runtime(rig.dir.path())).into(),
        ..Default::default()
    };
    let create = CreateSandbox {
        id: &id,
        bundle: &rig.bundle(),
        netns: "",
        options: Some(Options::crisp_sandbox(&options)),
        annotations: Default::default(),
    };
    shim.create_sandbox(create, SOON).await.unwrap();
    shim.start_sandbox(&id, SOON).await.unwrap();
    shim.ping_sandbox(&id, SOON).await.unwrap();
    let ready = shim.sandbox_status(&id, SOON).await.unwrap();
    assert_eq!(ready.state, SandboxState::Ready);
    let waiter = tokio::spawn({
        let (shim, id) = (shim.clone(), id.clone());
        async move { shim.wait_sandbox(&id).await }
    });
    shim.stop_sandbox(&id, Duration::from_secs(1), SOON).await.unwrap();
    timeout(SOON, waiter).await.unwrap().unwrap().unwrap();
    assert_eq!(shim.sandbox_status(&id, SOON).await.unwrap().state, SandboxState::NotReady);
    shim.shutdown_sandbox(&id, SOON).await.unwrap();
    timeout(SOON, shim.closed()).await.expect("the shim stays");
}
