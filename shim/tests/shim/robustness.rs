// SPDX-License-Identifier: Apache-2.0

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use containerd_shim_protos::api::{ConnectRequest, DeleteResponse, Status};
use containerd_shim_protos::shim_async::{Client, TaskClient};
use crisp_script::program;
use protobuf::Message;
use rustix::process::{Pid, Signal, kill_process};
use ttrpc::Code;

use crate::bench::{
    Bench, alive, clients, code, eventually, run_verb, runtimes, soon, start_shim, with_each,
};

/// A runtime whose `create` waits until it is told to go on.
struct SlowRuntime(PathBuf);

impl SlowRuntime {
    fn before(runtime: &str, dir: &Path) -> Self {
        let slow = Self(dir.join("slow-runtime"));
        let at = slow.0.display();
        let wait = format!(": >{at}.begun; while [ ! -e {at}.go ]; do sleep 0.01; done");
        let text =
            format!("case \" $* \" in *\" create \"*) {wait} ;; esac\nexec {runtime} \"$@\"");
        program(&slow.0, &text).unwrap();
        slow
    }

    fn is_at_work(&self) -> bool {
        self.0.with_extension("begun").exists()
    }

    fn go_on(&self) {
        fs::write(self.0.with_extension("go"), "").unwrap();
    }
}

#[tokio::test]
async fn a_client_that_vanishes_cancels_nothing() {
    with_each(|bench| async move {
        bench.write_bundle("c", &["sleep", "600"], |_| ());
        let slow = SlowRuntime::before(&bench.runtime_options().binary, bench.dir.path());
        let create = bench.create_request_by(&slow.0, 0, "c");
        let mut request = ttrpc::Request::new();
        request.service = "containerd.task.v2.Task".to_owned();
        request.method = "Create".to_owned();
        request.payload = create.write_to_bytes().unwrap();
        let client = Client::connect(&bench.address).await.unwrap();
        tokio::select! {
            came = client.request(request) => panic!("too quick to vanish in the middle: {came:?}"),
            () = eventually("the runtime is at work", || slow.is_at_work()) => (),
        }
        drop(client);
        slow.go_on();
        let end = Instant::now() + Duration::from_secs(10);
        while bench.state("c", "").await.status() != Status::CREATED && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(bench.state("c", "").await.status(), Status::CREATED);
        bench.start("c", "").await.unwrap();
        bench.kill("c", "", 9).await.unwrap();
        bench.wait("c", "").await;
        bench.delete("c", "").await.unwrap();
        bench
    })
    .await;
}

#[tokio::test]
async fn a_hung_runtime_is_killed_at_its_deadline_and_blocks_nobody() {
    with_each(|bench| async move {
        let pid = bench.run("other", &["sleep", "600"]).await;
        let hung = bench.dir.path().join("hung-runtime");
        program(&hung, "exec sleep 600").unwrap();
        bench.write_bundle("c", &["sleep", "600"], |_| ());
        let request = bench.create_request_by(&hung, 3, "c");
        let task = bench.task.clone();
        let create = tokio::spawn(async move { task.create(soon(), &request).await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        let begin = Instant::now();
        assert_eq!(bench.state("other", "").await.pid, pid);
        bench.kill("other", "", 9).await.unwrap();
        assert_eq!(bench.wait("other", "").await.exit_status, 137);
        assert!(begin.elapsed() < Duration::from_millis(2900), "{:?}", begin.elapsed());
        let error = create.await.unwrap().unwrap_err();
        assert_eq!(code(&error), Code::DEADLINE_EXCEEDED);
        assert!(error.to_string().contains("hung-runtime"), "{error}");
        bench.delete("other", "").await.unwrap();
        bench
    })
    .await;
}

#[tokio::test]
async fn a_second_start_finds_the_server_of_its_sandbox() {
    with_each(|bench| async move {
        assert_eq!(start_shim(bench.dir.path(), "pod"), bench.address);
        bench.write_bundle("member", &["true"], |spec| {
            spec["annotations"] = serde_json::json!({"io.kubernetes.cri.sandbox-id": "pod"});
        });
        assert_eq!(start_shim(bench.dir.path(), "member"), bench.address);
        bench
    })
    .await;
}

#[tokio::test]
async fn simultaneous_starts_of_one_pod_make_one_server() {
    let Some((kind, binary)) = runtimes().pop() else { return };
    let dir = tempfile::Builder::new().prefix("crisp-shim-").tempdir().unwrap();
    let start = || {
        let dir = dir.path().to_owned();
        tokio::task::spawn_blocking(move || start_shim(&dir, "pod"))
    };
    let starts: Vec<_> = (0..6).map(|_| start()).collect();
    for address in futures::future::join_all(starts).await {
        let (task, _) = clients(&address.unwrap()).await;
        task.connect(soon(), &ConnectRequest::new()).await.unwrap();
    }
    let bench = Bench::adopt(dir, kind, binary, "pod").await;
    let marker = bench.dir.path().join("s").to_string_lossy().into_owned();
    let servers = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|p| fs::read_to_string(p.unwrap().path().join("cmdline")).ok())
        .filter(|line| line.contains(&marker))
        .count();
    assert_eq!(servers, 1);
    bench.close().await;
}

#[tokio::test]
async fn a_shim_told_to_terminate_stays_until_its_last_container_has_ended() {
    with_each(|bench| async move {
        bench.run("c", &["sleep", "600"]).await;
        let shim = Pid::from_raw(bench.shim_pid.cast_signed()).unwrap();
        kill_process(shim, Signal::TERM).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        bench.kill("c", "", 9).await.unwrap();
        eventually("the shim is gone", || !alive(bench.shim_pid)).await;
        let exit = fs::read_to_string(bench.bundle("c").join("exit.json")).unwrap();
        assert!(exit.contains("137"), "{exit}");
        run_verb(bench.dir.path(), "c", "delete", b"");
        Bench::new(bench.kind, bench.runtime_options().binary.into()).await
    })
    .await;
}

#[tokio::test]
async fn the_older_task_service_and_unknown_ids_are_answered() {
    with_each(|bench| async move {
        let client = Client::connect(&bench.address).await.unwrap();
        for service in ["containerd.task.v2.Task", "containerd.task.v3.Task"] {
            let mut request = ttrpc::Request::new();
            request.service = service.to_owned();
            request.method = "State".to_owned();
            let error = client.request(request).await.unwrap_err();
            assert_eq!(code(&error), Code::NOT_FOUND, "{service}: {error}");
        }
        let _: TaskClient = TaskClient::new(client);
        bench
    })
    .await;
}

#[tokio::test]
async fn many_containers_are_killed_while_they_start() {
    with_each(|bench| async move {
        let round = |n: usize| {
            let bench = &bench;
            async move {
                let id = format!("c{n}");
                bench.write_bundle(&id, &["sleep", "600"], |_| ());
                let pid = bench.create(&id).await;
                let (started, killed) =
                    futures::future::join(bench.start(&id, ""), bench.kill(&id, "", 9)).await;
                if killed.is_err() {
                    bench.kill(&id, "", 9).await.unwrap();
                }
                drop(started);
                assert_eq!(bench.wait(&id, "").await.exit_status, 137);
                bench.delete(&id, "").await.unwrap();
                assert!(!alive(pid));
            }
        };
        futures::future::join_all((0..8).map(round)).await;
        bench
    })
    .await;
}

#[tokio::test]
async fn a_start_that_waits_for_a_dead_init_is_ended_and_the_exit_told() {
    with_each(|bench| async move {
        let dir = bench.dir.path();
        let (stubborn, init) = (dir.join("stubborn-runtime"), dir.join("init"));
        // As crun, which opens a pipe that nobody will read.
        let start = format!("kill -9 $(cat {}); exec sleep 600", init.display());
        let real = bench.runtime_options().binary;
        let text = format!("case \" $* \" in *\" start \"*) {start} ;; esac\nexec {real} \"$@\"");
        program(&stubborn, &text).unwrap();
        bench.write_bundle("c", &["sleep", "600"], |_| ());
        let create = bench.create_request_by(&stubborn, 0, "c");
        let pid = bench.task.create(soon(), &create).await.unwrap().pid;
        fs::write(init, pid.to_string()).unwrap();
        let error = bench.start("c", "").await.unwrap_err().to_string();
        assert!(error.contains("after the container's end"), "{error}");
        assert_eq!(bench.wait("c", "").await.exit_status, 137);
        bench.delete("c", "").await.unwrap();
        bench
    })
    .await;
}

#[tokio::test]
async fn delete_cleans_up_after_a_shim_that_died() {
    for (kind, binary) in runtimes() {
        let bench = Bench::new(kind, binary).await;
        let pid = bench.run("c", &["sleep", "600"]).await;
        let shim = Pid::from_raw(bench.shim_pid.cast_signed()).unwrap();
        kill_process(shim, Signal::KILL).unwrap();
        eventually("the shim is gone", || !alive(bench.shim_pid)).await;
        assert!(alive(pid), "the container outlives its shim");
        let answer = run_verb(bench.dir.path(), "c", "delete", b"");
        let answer = DeleteResponse::parse_from_bytes(&answer).unwrap();
        assert_eq!((answer.pid, answer.exit_status), (pid, 137));
        assert!(!alive(pid));
        assert!(!bench.dir.path().join("state/c").exists());
        run_verb(bench.dir.path(), "c", "delete", b"");
    }
}
