// SPDX-License-Identifier: Apache-2.0

use std::{fs, process::Command, time::Duration};

use containerd_shim_protos::{
    api::{
        KillRequest, PauseRequest, PidsRequest, ResumeRequest, StatsRequest, Status,
        UpdateTaskRequest,
    },
    cgroups::metrics::Metrics as MetricsV1,
};
use crisp_words::ExitRecord;
use protobuf::{Message, well_known_types::any::Any};
use serde_json::json;
use ttrpc::Code;

use crate::bench::{alive, code, eventually, soon, with_each};

const SIGKILL: u32 = 9;
const SIGTERM: u32 = 15;

#[tokio::test]
async fn a_container_lives_from_create_to_delete() {
    with_each(|bench| async move {
        bench.write_bundle("c", &["sleep", "600"], |_| ());
        let pid = bench.create("c").await;
        let state = bench.state("c", "").await;
        assert_eq!((state.pid, state.status()), (pid, Status::CREATED));
        assert_eq!(bench.start("c", "").await.unwrap(), pid);
        assert_eq!(bench.state("c", "").await.status(), Status::RUNNING);
        assert!(alive(pid));
        assert_eq!(code(&bench.start("c", "").await.unwrap_err()), Code::FAILED_PRECONDITION);
        assert_eq!(code(&bench.delete("c", "").await.unwrap_err()), Code::FAILED_PRECONDITION);
        bench.kill("c", "", SIGKILL).await.unwrap();
        assert_eq!(bench.wait("c", "").await.exit_status, 137);
        let state = bench.state("c", "").await;
        assert_eq!((state.status(), state.exit_status), (Status::STOPPED, 137));
        assert_eq!(code(&bench.kill("c", "", SIGKILL).await.unwrap_err()), Code::NOT_FOUND);
        assert_eq!(bench.delete("c", "").await.unwrap().exit_status, 137);
        assert_eq!(code(&bench.delete("c", "").await.unwrap_err()), Code::NOT_FOUND);
        bench
    })
    .await;
}

#[tokio::test]
async fn an_exit_is_recorded_before_it_is_told() {
    with_each(|bench| async move {
        let pid = bench.run("c", &["sh", "-c", "exit 7"]).await;
        let told = bench.wait("c", "").await;
        let text = fs::read(bench.bundle("c").join("exit.json")).unwrap();
        let record: ExitRecord = serde_json::from_slice(&text).unwrap();
        assert_eq!((record.status, record.pid, record.oom_killed), (7, pid, false));
        assert_eq!(told.exit_status, 7);
        assert_eq!(record.exited_at_ns / 1_000_000_000, told.exited_at.seconds);
        bench.delete("c", "").await.unwrap();
        bench
    })
    .await;
}

#[tokio::test]
async fn a_signal_ends_a_container_with_128_and_its_number() {
    with_each(|bench| async move {
        let script = "trap 'exit 3' TERM; : >/tmp/trapped; while :; do sleep 0.05; done";
        bench.run("trap", &["sh", "-c", script]).await;
        let trapped = bench.bundle("trap").join("rootfs/tmp/trapped");
        eventually("the trap is set", || trapped.exists()).await;
        bench.kill("trap", "", SIGTERM).await.unwrap();
        assert_eq!(bench.wait("trap", "").await.exit_status, 3);
        bench.delete("trap", "").await.unwrap();
        bench.run("plain", &["sh", "-c", "sleep 600 & wait"]).await;
        bench.kill("plain", "", 37).await.unwrap();
        bench.kill("plain", "", SIGKILL).await.unwrap();
        assert_eq!(bench.wait("plain", "").await.exit_status, 137);
        bench.delete("plain", "").await.unwrap();
        bench
    })
    .await;
}

#[tokio::test]
async fn an_oom_kill_leaves_evidence() {
    with_each(|bench| async move {
        let hungry = ["sh", "-c", "x=a; while :; do x=$x$x; done"];
        bench.run("c", &hungry).await;
        assert_eq!(bench.wait("c", "").await.exit_status, 137);
        let text = fs::read(bench.bundle("c").join("exit.json")).unwrap();
        let record: ExitRecord = serde_json::from_slice(&text).unwrap();
        assert!(record.oom_killed, "{record:?}");
        bench.delete("c", "").await.unwrap();
        bench
    })
    .await;
}

#[tokio::test]
async fn a_created_container_is_deleted_without_a_start() {
    with_each(|bench| async move {
        bench.write_bundle("c", &["sleep", "600"], |_| ());
        let pid = bench.create("c").await;
        let again = bench.task.create(soon(), &bench.create_request("c")).await;
        assert_eq!(code(&again.unwrap_err()), Code::ALREADY_EXISTS);
        assert_eq!(bench.delete("c", "").await.unwrap().exit_status, 137);
        assert!(!alive(pid));
        bench
    })
    .await;
}

#[tokio::test]
async fn a_failed_create_tells_why_and_leaves_nothing() {
    with_each(|bench| async move {
        bench.write_bundle("c", &["/bin/nothing-here"], |_| ());
        let made = bench.task.create(soon(), &bench.create_request("c")).await;
        let text = match made {
            // crun looks for the program when it starts it.
            Ok(_) => bench.start("c", "").await.unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(text.contains("nothing-here"), "{text}");
        if bench.delete("c", "").await.is_err() {
            let state = bench.dir.path().join("state/c");
            assert!(!state.exists(), "{} is left", state.display());
        }
        let mut request = bench.create_request("none");
        request.bundle = "/nonexistent/bundle".to_owned();
        let error = bench.task.create(soon(), &request).await.unwrap_err();
        assert_eq!(code(&error), Code::INVALID_ARGUMENT);
        bench.write_bundle("c", &["true"], |_| ());
        bench.create("c").await;
        bench.delete("c", "").await.unwrap();
        bench
    })
    .await;
}

#[tokio::test]
async fn limits_pids_stats_and_freezing_work() {
    with_each(|bench| async move {
        let pid = bench.run("c", &["sleep", "600"]).await;
        let id = || "c".to_owned();
        let pids = PidsRequest { id: id(), ..PidsRequest::default() };
        let pids = bench.task.pids(soon(), &pids).await.unwrap();
        assert_eq!(pids.processes.iter().map(|p| p.pid).collect::<Vec<_>>(), [pid]);
        let resources = Any {
            value: json!({"memory": {"limit": 33_554_432}}).to_string().into_bytes(),
            ..Any::default()
        };
        let update =
            UpdateTaskRequest { id: id(), resources: Some(resources).into(), ..Default::default() };
        bench.task.update(soon(), &update).await.unwrap();
        let stats = StatsRequest { id: id(), ..StatsRequest::default() };
        let stats = bench.task.stats(soon(), &stats).await.unwrap().stats.unwrap();
        if stats.type_url == "io.containerd.cgroups.v1.Metrics" {
            let metrics = MetricsV1::parse_from_bytes(&stats.value).unwrap();
            assert_eq!(metrics.memory.usage.limit, 33_554_432);
            assert!(metrics.cpu.usage.total > 0);
            assert_eq!(metrics.pids.current, 1);
        }
        let pause = PauseRequest { id: id(), ..PauseRequest::default() };
        bench.task.pause(soon(), &pause).await.unwrap();
        assert_eq!(bench.state("c", "").await.status(), Status::PAUSED);
        let refused = bench.task.pause(soon(), &pause).await.unwrap_err();
        assert_eq!(code(&refused), Code::FAILED_PRECONDITION);
        let resume = ResumeRequest { id: id(), ..ResumeRequest::default() };
        bench.task.resume(soon(), &resume).await.unwrap();
        bench.task.pause(soon(), &pause).await.unwrap();
        bench.kill("c", "", SIGKILL).await.unwrap();
        assert_eq!(bench.wait("c", "").await.exit_status, 137);
        bench.delete("c", "").await.unwrap();
        bench
    })
    .await;
}

#[tokio::test]
async fn the_end_of_init_ends_everything_in_a_pid_namespace_that_is_not_its_own() {
    with_each(|bench| async move {
        bench.write_bundle("c", &["sh", "-c", "sleep 601 & sleep 602 & exec sleep 603"], |spec| {
            spec["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "ipc"}]);
        });
        bench.create("c").await;
        bench.start("c", "").await.unwrap();
        let request = PidsRequest { id: "c".to_owned(), ..PidsRequest::default() };
        let mut pids = Vec::new();
        for _ in 0..200 {
            pids = bench.task.pids(soon(), &request).await.unwrap().processes;
            if pids.len() == 3 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(pids.len(), 3);
        bench.kill("c", "", SIGKILL).await.unwrap();
        assert_eq!(bench.wait("c", "").await.exit_status, 137);
        eventually("all its processes are gone", || !pids.iter().any(|p| alive(p.pid))).await;
        // The shim is their reaper: none may stay a zombie.
        let shim = bench.shim_pid.to_string();
        eventually("strays are reaped", || {
            let out = Command::new("ps").args(["--ppid", &shim, "-o", "pid="]).output().unwrap();
            out.stdout.is_empty()
        })
        .await;
        bench.delete("c", "").await.unwrap();
        bench
    })
    .await;
}

#[tokio::test]
async fn all_processes_can_be_signalled_at_once() {
    with_each(|bench| async move {
        bench.run("c", &["sh", "-c", "sleep 600 & wait"]).await;
        let request =
            KillRequest { id: "c".to_owned(), signal: 9, all: true, ..KillRequest::default() };
        bench.task.kill(soon(), &request).await.unwrap();
        assert_eq!(bench.wait("c", "").await.exit_status, 137);
        bench.delete("c", "").await.unwrap();
        bench
    })
    .await;
}
