// SPDX-License-Identifier: Apache-2.0
//! The pod's I/O helper (verb `io`), with plain processes in the place of another's shim and its
//! containers.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::OpenOptionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use containerd_shim_protos::{bootstrap_api::BootstrapParams, shim_async::Client};
use crisp_podio::{
    AttachRequest, CloseRequest, DrainedRequest, HelloRequest, OpenRequest, OpenResponse,
    PodIoClient, ReopenLogRequest, ShutdownRequest,
};
use protobuf::Message;
use rustix::{
    fs::OFlags,
    process::{Pid, Signal, kill_process},
};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::bench::{NAMESPACE, alive, eventually, run_verb};

const SOON: Duration = Duration::from_secs(20);
const ID: &str = "c";

/// One pod's helper, and one container's directory.
struct Pod {
    dir: TempDir,
    client: PodIoClient,
    pid: u32,
}

impl Pod {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(ID)).unwrap();
        let (client, pid) = start(dir.path()).await;
        Self { dir, client, pid }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn request(&self) -> OpenRequest {
        OpenRequest {
            container_id: ID.to_owned(),
            log_path: self.path("0.log").display().to_string(),
            dir: self.path(ID).display().to_string(),
            ..OpenRequest::default()
        }
    }

    async fn open(&self) -> OpenResponse {
        self.client.open(&self.request()).await.unwrap()
    }

    /// Kills the helper as the kernel would, and puts another in its place.
    async fn replace(&mut self) {
        kill(self.pid);
        (self.client, self.pid) = start(self.dir.path()).await;
        self.open().await;
    }

    async fn drained(&self) {
        let request = DrainedRequest { container_id: ID.to_owned(), ..Default::default() };
        self.client.drained(&request).await.unwrap();
    }

    async fn reopen(&self) {
        let request = ReopenLogRequest { container_id: ID.to_owned(), ..Default::default() };
        self.client.reopen_log(&request).await.unwrap();
    }

    async fn attach(&self, stdin: bool) -> UnixStream {
        let request = AttachRequest {
            container_id: ID.to_owned(),
            stdin,
            stdout: true,
            stderr: true,
            ..Default::default()
        };
        UnixStream::connect(self.client.attach(&request).await.unwrap().socket).unwrap()
    }

    /// Texts of the log, lines put together again.
    fn lines(&self) -> Vec<String> {
        lines(&self.path("0.log"))
    }

    async fn end(self) {
        self.client.shutdown(&ShutdownRequest::new()).await.unwrap();
        let end = Instant::now() + SOON;
        while Path::new(&format!("/proc/{}/exe", self.pid)).exists() {
            assert!(Instant::now() < end, "the helper does not end");
            sleep(Duration::from_millis(10)).await;
        }
        let left = |dir: &str| fs::read_dir(self.path(dir)).unwrap().count();
        assert_eq!((left(ID), left("s")), (0, 0), "something was left");
    }
}

async fn start(dir: &Path) -> (PodIoClient, u32) {
    let params = BootstrapParams {
        instance_id: "pod".to_owned(),
        namespace: NAMESPACE.to_owned(),
        socket_dir: Some(dir.join("s").display().to_string()),
        ..Default::default()
    };
    let answer = run_verb(dir, "pod", "io", &params.write_to_bytes().unwrap());
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    let address = answer["address"].as_str().unwrap();
    let client = PodIoClient::new(Client::connect(address).await.unwrap(), SOON);
    let pid = client.hello(&HelloRequest::new()).await.unwrap().pid;
    (client, pid)
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
    while alive(pid) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn lines(log: &Path) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for record in fs::read_to_string(log).unwrap().lines() {
        let mut parts = record.splitn(4, ' ');
        assert_eq!(parts.next().unwrap().len(), 30, "{record:?}");
        let tag = parts.nth(1).unwrap();
        line.push_str(parts.next().unwrap());
        if tag == "F" {
            lines.push(std::mem::take(&mut line));
        }
    }
    assert!(line.is_empty(), "{line:?}");
    lines
}

/// What another's shim holds all the time: the end to read from, so that a pipe never empties.
fn hold(pipe: &str) -> fs::File {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    fs::OpenOptions::new().read(true).custom_flags(flags).open(pipe).unwrap()
}

/// A program that writes to the pipes, or only to what is given as its output.
fn write(script: &str, paths: &OpenResponse) -> Child {
    let to = |path: &str| fs::OpenOptions::new().write(true).open(path).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null()).stdout(to(&paths.stdout));
    match paths.stderr.as_str() {
        "" => command.stderr(Stdio::null()),
        path => command.stderr(to(path)),
    };
    command.spawn().unwrap()
}

/// What an attachment was told of standard output.
fn stdout_of(mut frames: &[u8]) -> Vec<u8> {
    let mut stdout = Vec::new();
    while let [stream, a, b, c, d, rest @ ..] = frames {
        let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap();
        let (bytes, rest) = rest.split_at(length);
        if *stream == 1 {
            stdout.extend(bytes);
        }
        frames = rest;
    }
    stdout
}

fn numbered(count: usize) -> impl Iterator<Item = String> {
    (1..=count).map(|n| n.to_string())
}

#[track_caller]
fn equal(got: &[String], want: impl Iterator<Item = String>) {
    let mut got = got.iter();
    for (n, want) in want.enumerate() {
        assert_eq!(got.next(), Some(&want), "line {n}");
    }
    assert_eq!(got.next(), None);
}

async fn exit(mut child: Child) -> Option<i32> {
    let waiting = tokio::task::spawn_blocking(move || child.wait().unwrap().code());
    tokio::time::timeout(SOON * 3, waiting).await.expect("the writer hangs").unwrap()
}

#[tokio::test]
async fn a_killed_helper_loses_doubles_and_tears_no_line() {
    const LINES: usize = 1_500_000;
    let mut pod = Pod::new().await;
    let paths = pod.open().await;
    let _holds = [hold(&paths.stdout), hold(&paths.stderr)];
    let writer = write(&format!("seq 1 {LINES}"), &paths);
    let waiting = tokio::spawn(exit(writer));
    let mut kills = 0;
    while !waiting.is_finished() {
        // From the first moments of a helper to well within its work.
        sleep(Duration::from_millis(1 + 7 * kills)).await;
        pod.replace().await;
        kills += 1;
    }
    assert_eq!(waiting.await.unwrap(), Some(0));
    pod.drained().await;
    eprintln!("{kills} helpers were killed over {LINES} lines");
    assert!(kills > 3, "the load was over too soon");
    equal(&pod.lines(), numbered(LINES));
    pod.end().await;
}

#[tokio::test]
async fn long_lines_of_two_streams_survive_their_helper() {
    let mut pod = Pod::new().await;
    let paths = pod.open().await;
    let _holds = [hold(&paths.stdout), hold(&paths.stderr)];
    // Lines of 40,000 bytes, with their number at both ends.
    let script = "i=0; fill=$(head -c 39990 /dev/zero | tr '\\0' x); while [ $i -lt 600 ]; do \
                  n=$(printf %05d $i); echo $n$fill$n; echo $n$fill$n >&2; i=$((i+1)); done";
    let waiting = tokio::spawn(exit(write(script, &paths)));
    while !waiting.is_finished() {
        sleep(Duration::from_millis(25)).await;
        pod.replace().await;
    }
    assert_eq!(waiting.await.unwrap(), Some(0));
    pod.drained().await;
    let text = fs::read_to_string(pod.path("0.log")).unwrap();
    for stream in ["stdout", "stderr"] {
        let (mut line, mut n) = (String::new(), 0);
        for record in text.lines().filter(|record| &record[31..37] == stream) {
            line.push_str(&record[40..]);
            if &record[38..39] == "F" {
                let number = format!("{n:05}");
                assert_eq!(line.len(), 40_000, "{stream} {n}");
                assert!(line.starts_with(&number) && line.ends_with(&number), "{stream} {n}");
                (line, n) = (String::new(), n + 1);
            }
        }
        assert_eq!((n, line.len()), (600, 0), "{stream}");
    }
    pod.end().await;
}

#[tokio::test]
async fn output_goes_on_while_no_daemon_is_there() {
    let pod = Pod::new().await;
    let paths = pod.open().await;
    let _holds = [hold(&paths.stdout), hold(&paths.stderr)];
    // Nobody calls meanwhile: ten times what a pipe holds.
    assert_eq!(exit(write("seq 1 1700000", &paths)).await, Some(0));
    pod.drained().await;
    equal(&pod.lines(), numbered(1_700_000));
    pod.end().await;
}

#[tokio::test]
async fn a_reopened_log_loses_splits_and_doubles_no_line() {
    const LINES: usize = 400_000;
    let pod = Pod::new().await;
    let paths = pod.open().await;
    let _holds = [hold(&paths.stdout), hold(&paths.stderr)];
    let waiting = tokio::spawn(exit(write(&format!("seq 1 {LINES}"), &paths)));
    let mut rotated = Vec::new();
    while !waiting.is_finished() {
        sleep(Duration::from_millis(5)).await;
        let old = pod.path(&format!("0.log.{}", rotated.len()));
        fs::rename(pod.path("0.log"), &old).unwrap();
        pod.reopen().await;
        rotated.push(old);
    }
    pod.drained().await;
    let mut all: Vec<String> = rotated.iter().flat_map(|old| lines(old)).collect();
    all.extend(pod.lines());
    equal(&all, numbered(LINES));
    pod.end().await;
}

#[tokio::test]
async fn a_pipe_without_a_writer_is_not_at_its_end() {
    let pod = Pod::new().await;
    let paths = pod.open().await;
    let _holds = [hold(&paths.stdout), hold(&paths.stderr)];
    let mut reader = pod.attach(false).await;
    sleep(Duration::from_millis(300)).await;
    // A shim that opens its pipes, lets them go and opens them again.
    for n in 1..=3 {
        assert_eq!(exit(write(&format!("echo {n}"), &paths)).await, Some(0));
        sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(exit(write("printf 4", &paths)).await, Some(0));
    sleep(Duration::from_millis(1500)).await;
    // An hour later, by an attachment's clock: for it the stream has ended, for the log it goes on.
    assert_eq!(exit(write("echo 5", &paths)).await, Some(0));
    pod.drained().await;
    equal(&pod.lines(), ["1", "2", "3", "45"].into_iter().map(str::to_owned));
    let mut heard = Vec::new();
    reader.set_read_timeout(Some(SOON)).unwrap();
    reader.read_to_end(&mut heard).unwrap();
    assert_eq!(stdout_of(&heard), b"1\n2\n3\n4");
    pod.end().await;
}

#[tokio::test]
async fn a_writer_that_stays_does_not_hold_an_exit_up_for_ever() {
    let pod = Pod::new().await;
    let paths = pod.open().await;
    let mut stays = write("echo early; exec sleep 60", &paths);
    eventually("the first line is logged", || !pod.lines().is_empty()).await;
    let began = Instant::now();
    pod.drained().await;
    let took = began.elapsed();
    assert!(took > Duration::from_secs(1) && took < Duration::from_secs(5), "{took:?}");
    equal(&pod.lines(), ["early".to_owned()].into_iter());
    stays.kill().unwrap();
    stays.wait().unwrap();
    // Nothing was ever written here: drained at once.
    let began = Instant::now();
    pod.drained().await;
    assert!(began.elapsed() < Duration::from_secs(1));
    pod.end().await;
}

#[tokio::test]
async fn input_of_an_attachment_reaches_a_reader_that_comes_later_and_ends() {
    let pod = Pod::new().await;
    let request = OpenRequest { stdin: true, stdin_once: true, ..pod.request() };
    let paths = pod.client.open(&request).await.unwrap();
    let mut client = pod.attach(true).await;
    client.write_all(b"\x00\x00\x00\x00\x06hello\n").unwrap();
    sleep(Duration::from_millis(100)).await;
    let output = fs::OpenOptions::new().write(true).open(&paths.stdout).unwrap();
    let input = fs::File::open(&paths.stdin).unwrap();
    let cat = Command::new("cat").stdin(input).stdout(output).spawn().unwrap();
    client.write_all(b"\x00\x00\x00\x00\x06world\n\x00\x00\x00\x00\x00").unwrap();
    assert_eq!(exit(cat).await, Some(0), "cat saw no end of its input");
    // Else the next helper would open the input again.
    eventually("the ended input's pipe is gone", || !Path::new(&paths.stdin).exists()).await;
    pod.drained().await;
    equal(&pod.lines(), ["hello", "world"].into_iter().map(str::to_owned));
    // The same is asked of the next helper, and the input stays ended.
    let (client, pid) = {
        kill(pod.pid);
        start(pod.dir.path()).await
    };
    let pod = Pod { client, pid, ..pod };
    assert_eq!(pod.client.open(&request).await.unwrap(), paths);
    assert!(!Path::new(&paths.stdin).exists());
    pod.end().await;
}

#[tokio::test]
async fn one_container_more_or_less_is_nothing_to_the_others() {
    let pod = Pod::new().await;
    let paths = pod.open().await;
    assert_eq!(pod.open().await, paths, "the same again is no error");
    let other = OpenRequest { terminal: true, ..pod.request() };
    let error = pod.client.open(&other).await.unwrap_err().to_string();
    assert!(error.contains("container c is open already"), "{error}");
    let missing = OpenRequest {
        container_id: "d".to_owned(),
        log_path: pod.path("none/0.log").display().to_string(),
        dir: pod.path("d").display().to_string(),
        ..OpenRequest::default()
    };
    let error = pod.client.open(&missing).await.unwrap_err().to_string();
    assert!(error.contains("none does not exist"), "{error}");
    let unknown = CloseRequest { container_id: "d".to_owned(), ..Default::default() };
    pod.client.close(&unknown).await.unwrap();
    assert_eq!(exit(write("echo on", &paths)).await, Some(0));
    pod.drained().await;
    equal(&pod.lines(), ["on".to_owned()].into_iter());
    // Found again, not started again.
    let (_, pid) = start(pod.dir.path()).await;
    assert_eq!(pid, pod.pid);
    pod.end().await;
}
