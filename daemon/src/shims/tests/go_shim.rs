// SPDX-License-Identifier: Apache-2.0
//! Debian's containerd-shim-runc-v2, driven as the daemon does.

use std::{fs, path::Path, time::Duration};

use crisp_words::ExecId;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, timeout};

use super::{
    super::{
        Dialect, ExecIo, ExecTask, Hint, KillScope, Options, RuncOptions, ShimClient, ShimError,
        ShimTarget, StdioAddresses, TaskApi, TaskRef, TaskStatus,
    },
    Reap, Rig, SOON, kill, paths,
};

const SHIM: &str = "/usr/bin/containerd-shim-runc-v2";

async fn rig(id: &str) -> Option<Rig> {
    Rig::new(Path::new(SHIM), id, |dir| {
        let root = dir.join("runc").display().to_string();
        Options::runc(&RuncOptions { root, ..Default::default() })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_a_go_shim_lives_from_create_to_shutdown() {
    let Some(rig) = rig("life").await else { return };
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
    let Some(rig) = rig("death").await else { return };
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
    let Some(rig) = rig("parallel").await else { return };
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
    let Some(rig) = rig("downgrade").await else { return };
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
    let Some(rig) = rig("stuck").await else { return };
    let shim = rig.connect(Dialect::Legacy).await;
    let task = TaskRef::container(&rig.id);
    let pid = shim.connected(task, SOON).await.unwrap().shim_pid;
    let _reap = Reap(pid);
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    timeout(SOON, stopped(pid)).await.expect("the shim does not stop");
    let short = Duration::from_millis(100);
    for _ in 0..3 {
        let error = shim.connected(task, short).await.unwrap_err();
        assert!(matches!(error, ShimError::Deadline { .. }), "{error}");
    }
    kill_process(pid, Signal::CONT).unwrap();
    shim.connected(task, SOON).await.expect("the connection did not survive the deadlines");
    shim.shutdown(task, SOON).await.unwrap();
}

/// Waits until every thread of a process has taken the signal to stop.
async fn stopped(pid: Pid) {
    let runs = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        !status.contains("State:\tT")
    };
    let tasks = format!("/proc/{}/task", pid.as_raw_nonzero());
    while fs::read_dir(&tasks).unwrap().flatten().any(runs) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
