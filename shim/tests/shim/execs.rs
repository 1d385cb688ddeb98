// SPDX-License-Identifier: Apache-2.0

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::OpenOptionsExt as _,
    process::Command,
};

use containerd_shim_protos::api::{KillRequest, PidsRequest};
use ttrpc::Code;

use crate::bench::{alive, code, eventually, soon, with_each};

fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[tokio::test]
async fn an_exec_runs_tells_its_code_and_is_forgotten() {
    with_each(|bench| async move {
        bench.run("c", &["sleep", "600"]).await;
        let fifo = bench.dir.path().join("out");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let path = fifo.to_string_lossy().into_owned();
        // Its reader is there from the start: who writes to a pipe that nobody reads is killed.
        let mut reader =
            File::options().read(true).custom_flags(libc::O_NONBLOCK).open(fifo).unwrap();
        bench.exec("c", "e", &["sh", "-c", "echo hello; exit 5"], &path).await.unwrap();
        let twice = bench.exec("c", "e", &["true"], "").await.unwrap_err();
        assert_eq!(code(&twice), Code::ALREADY_EXISTS);
        assert!(bench.start("c", "e").await.unwrap() > 0);
        assert_eq!(bench.wait("c", "e").await.exit_status, 5);
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert_eq!(said, "hello\n");
        assert_eq!(bench.delete("c", "e").await.unwrap().exit_status, 5);
        assert_eq!(code(&bench.delete("c", "e").await.unwrap_err()), Code::NOT_FOUND);
        bench.kill("c", "", 9).await.unwrap();
        bench.wait("c", "").await;
        bench.delete("c", "").await.unwrap();
        bench
    })
    .await;
}

#[tokio::test]
async fn an_exec_of_nothing_tells_what_is_missing() {
    with_each(|bench| async move {
        bench.run("c", &["sleep", "600"]).await;
        bench.exec("c", "e", &["/bin/nothing-here"], "").await.unwrap();
        let error = bench.start("c", "e").await.unwrap_err().to_string();
        assert!(error.contains("nothing-here"), "{error}");
        bench.delete("c", "e").await.unwrap();
        let left: Vec<_> = fs::read_dir(bench.bundle("c"))
            .unwrap()
            .map(|f| f.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("exec-"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
        bench.kill("c", "", 9).await.unwrap();
        bench.wait("c", "").await;
        let late = bench.exec("c", "late", &["true"], "").await.unwrap_err();
        assert_eq!(code(&late), Code::NOT_FOUND);
        bench.delete("c", "").await.unwrap();
        bench
    })
    .await;
}

#[tokio::test]
async fn an_exec_is_killed_alone() {
    with_each(|bench| async move {
        bench.run("c", &["sleep", "600"]).await;
        bench.exec("c", "e", &["sleep", "600"], "").await.unwrap();
        assert_eq!(code(&bench.kill("c", "e", 9).await.unwrap_err()), Code::FAILED_PRECONDITION);
        bench.start("c", "e").await.unwrap();
        bench.kill("c", "e", 9).await.unwrap();
        assert_eq!(bench.wait("c", "e").await.exit_status, 137);
        bench.delete("c", "e").await.unwrap();
        bench.kill("c", "", 9).await.unwrap();
        assert_eq!(bench.wait("c", "").await.exit_status, 137);
        bench.delete("c", "").await.unwrap();
        bench
    })
    .await;
}

#[tokio::test]
async fn an_execs_whole_family_is_killed_and_nobody_else() {
    with_each(|bench| async move {
        let init = bench.run("c", &["sleep", "600"]).await;
        let script = "(sleep 601 &) ; sh -c 'sleep 602 & wait' & wait";
        bench.exec("c", "e", &["sh", "-c", script], "").await.unwrap();
        bench.exec("c", "other", &["sleep", "603"], "").await.unwrap();
        let other = bench.start("c", "other").await.unwrap();
        bench.start("c", "e").await.unwrap();
        let request = PidsRequest { id: "c".to_owned(), ..PidsRequest::default() };
        let pids = || async {
            let pids = bench.task.pids(soon(), &request).await.unwrap().processes;
            pids.into_iter().map(|p| p.pid).collect::<Vec<_>>()
        };
        while pids().await.len() < 6 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let family: Vec<u32> =
            pids().await.into_iter().filter(|p| ![init, other].contains(p)).collect();
        let (id, exec_id) = ("c".to_owned(), "e".to_owned());
        let kill = KillRequest { id, exec_id, signal: 9, all: true, ..KillRequest::default() };
        bench.task.kill(soon(), &kill).await.unwrap();
        assert_eq!(bench.wait("c", "e").await.exit_status, 137);
        eventually("the family is gone", || !family.iter().any(|p| alive(*p))).await;
        assert!(alive(init) && alive(other));
        bench.kill("c", "", 9).await.unwrap();
        bench.wait("c", "").await;
        bench.delete("c", "").await.unwrap();
        bench
    })
    .await;
}

#[tokio::test]
async fn a_thousand_execs_leave_neither_descriptors_nor_zombies_nor_memory() {
    with_each(|bench| async move {
        bench.run("c", &["sleep", "600"]).await;
        let round = |n: usize| {
            let bench = &bench;
            async move {
                let id = format!("e{n}");
                bench.exec("c", &id, &["true"], "").await.unwrap();
                bench.start("c", &id).await.unwrap();
                assert_eq!(bench.wait("c", &id).await.exit_status, 0);
                bench.delete("c", &id).await.unwrap();
            }
        };
        // Four at a time from the start: what four need at once is no growth.
        for n in (0..100).step_by(4) {
            futures::future::join_all((n..n + 4).map(round)).await;
        }
        let before = (open_files(bench.shim_pid), private_dirty(bench.shim_pid));
        for n in (100..1000).step_by(4) {
            futures::future::join_all((n..n + 4).map(round)).await;
        }
        let after = (open_files(bench.shim_pid), private_dirty(bench.shim_pid));
        assert_eq!(before.0, after.0, "descriptors");
        assert!(
            after.1 <= before.1 + 128,
            "private memory grew from {} to {} KB",
            before.1,
            after.1
        );
        let shim = bench.shim_pid.to_string();
        let out = Command::new("ps").args(["--ppid", &shim, "-o", "stat="]).output().unwrap();
        assert!(!String::from_utf8_lossy(&out.stdout).contains('Z'));
        bench.kill("c", "", 9).await.unwrap();
        bench.wait("c", "").await;
        bench.delete("c", "").await.unwrap();
        bench
    })
    .await;
}

fn private_dirty(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|l| l.starts_with("Private_Dirty:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
