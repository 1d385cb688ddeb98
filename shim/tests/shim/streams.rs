// SPDX-License-Identifier: Apache-2.0

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use containerd_shim_protos::{
    api::{CloseIORequest, ResizePtyRequest},
    shim_async::Client,
};
use crisp_podio::{AttachRequest, ContainerOptions, DrainedRequest, PodIoClient, ReopenLogRequest};

use crate::bench::{Bench, podio_any, soon, with_each};

async fn pod_io(bench: &Bench) -> PodIoClient {
    PodIoClient::new(Client::connect(&bench.address).await.unwrap(), Duration::from_secs(10))
}

/// Makes and starts a container whose output goes to a CRI log.
async fn run_logged(bench: &Bench, script: &str, terminal: bool) -> std::path::PathBuf {
    let log = bench.dir.path().join("0.log");
    bench.write_bundle("c", &["sh", "-c", script], |spec| {
        spec["process"]["terminal"] = terminal.into();
        spec["mounts"].as_array_mut().unwrap().push(serde_json::json!(
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]}
        ));
    });
    let mut options = ContainerOptions::new();
    options.runtime = Some(bench.runtime_options()).into();
    let mut request = bench.create_request("c");
    request.options = Some(podio_any(&options)).into();
    request.stdin = "cri-log:".to_owned();
    request.stdout = format!("cri-log:{}", log.display());
    request.stderr = request.stdout.clone();
    request.terminal = terminal;
    bench.task.create(soon(), &request).await.unwrap();
    bench.start("c", "").await.unwrap();
    log
}

/// What the log says, without its times.
fn read_log(log: &std::path::Path) -> Vec<String> {
    let text = fs::read_to_string(log).unwrap();
    let records = text.lines().map(|l| l.split_once(' ').unwrap().1.to_owned());
    records.collect()
}

#[tokio::test]
async fn output_is_in_the_log_before_the_exit_is_told() {
    with_each(|bench| async move {
        let script = "echo one; echo two >&2; printf three; sleep 600 & exit 0";
        let log = run_logged(&bench, script, false).await;
        bench.wait("c", "").await;
        let records = read_log(&log);
        assert!(records.contains(&"stdout F one".to_owned()), "{records:?}");
        assert!(records.contains(&"stderr F two".to_owned()), "{records:?}");
        assert!(records.iter().any(|r| r.ends_with(" three")), "{records:?}");
        let drained = DrainedRequest { container_id: "c".to_owned(), ..Default::default() };
        pod_io(&bench).await.drained(&drained).await.unwrap();
        bench.delete("c", "").await.unwrap();
        bench
    })
    .await;
}

#[tokio::test]
async fn a_log_is_reopened_after_its_rotation() {
    with_each(|bench| async move {
        let log = run_logged(&bench, "echo old; read line; echo new", false).await;
        while !log.exists() || read_log(&log).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let rotated = log.with_extension("1");
        fs::rename(&log, &rotated).unwrap();
        let reopen = ReopenLogRequest { container_id: "c".to_owned(), ..Default::default() };
        pod_io(&bench).await.reopen_log(&reopen).await.unwrap();
        assert!(log.exists());
        let close = CloseIORequest { id: "c".to_owned(), stdin: true, ..Default::default() };
        bench.task.close_io(soon(), &close).await.unwrap();
        bench.wait("c", "").await;
        assert_eq!(read_log(&rotated), ["stdout F old"]);
        assert_eq!(read_log(&log), ["stdout F new"]);
        bench.delete("c", "").await.unwrap();
        bench
    })
    .await;
}

#[tokio::test]
async fn an_attachment_feeds_a_terminal_and_hears_it() {
    with_each(|bench| async move {
        let script = "echo ready; read line; echo got:$line; stty size 2>/dev/null; exit 6";
        let log = run_logged(&bench, script, true).await;
        let (width, height) = (100, 40);
        let resize = ResizePtyRequest { id: "c".to_owned(), width, height, ..Default::default() };
        bench.task.resize_pty(soon(), &resize).await.unwrap();
        let attach = AttachRequest {
            container_id: "c".to_owned(),
            stdin: true,
            stdout: true,
            ..AttachRequest::default()
        };
        let socket = pod_io(&bench).await.attach(&attach).await.unwrap().socket;
        assert!(socket.len() <= 107, "{socket}");
        let heard = tokio::task::spawn_blocking(move || {
            let mut stream = UnixStream::connect(socket).unwrap();
            stream.write_all(b"\x00\x00\x00\x00\x06hello\n").unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).unwrap();
            heard
        });
        assert_eq!(bench.wait("c", "").await.exit_status, 6);
        let records = read_log(&log);
        assert!(records.iter().any(|r| r.starts_with("stdout F got:hello")), "{records:?}");
        bench.delete("c", "").await.unwrap();
        let heard = String::from_utf8_lossy(&heard.await.unwrap()).into_owned();
        assert!(heard.contains("got:hello"), "{heard:?}");
        bench
    })
    .await;
}

#[tokio::test]
async fn an_exec_gets_a_terminal() {
    with_each(|bench| async move {
        bench.write_bundle("c", &["sleep", "600"], |spec| {
            spec["mounts"].as_array_mut().unwrap().push(serde_json::json!(
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                 "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]}
            ));
        });
        bench.create("c").await;
        bench.start("c", "").await.unwrap();
        let fifo = bench.dir.path().join("out");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        let path = fifo.to_string_lossy().into_owned();
        let reader = tokio::task::spawn_blocking(move || fs::read_to_string(fifo).unwrap());
        let args = ["sh", "-c", "test -t 1 && echo terminal; exit 2"];
        bench.exec_with_terminal("c", "e", &args, &path).await.unwrap();
        bench.start("c", "e").await.unwrap();
        assert_eq!(bench.wait("c", "e").await.exit_status, 2);
        bench.delete("c", "e").await.unwrap();
        assert_eq!(reader.await.unwrap(), "terminal\r\n");
        bench.kill("c", "", 9).await.unwrap();
        bench.wait("c", "").await;
        bench.delete("c", "").await.unwrap();
        bench
    })
    .await;
}
