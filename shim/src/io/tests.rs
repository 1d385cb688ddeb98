// SPDX-License-Identifier: Apache-2.0
//! Real processes on real pipes.

use std::{
    fs,
    io::{BufRead, BufReader, BufWriter, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{self, Child, Command},
    thread,
    time::{Duration, Instant},
};

use crisp_words::Stdio;
use tokio::time::{sleep, timeout};

use super::{AttachTo, ChildStdio, ContainerIo, ReaderGone, Streams};

const SOON: Duration = Duration::from_secs(20);

struct Bundle(tempfile::TempDir);

impl Bundle {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn logged(&self) -> Streams {
        let log = Stdio::CriLog(self.path("0.log"));
        Streams { stdout: log.clone(), stderr: log, ..Default::default() }
    }

    fn open(&self, streams: Streams) -> (ContainerIo, ChildStdio) {
        ContainerIo::open(self.0.path(), streams).unwrap()
    }

    /// Stream, tag and text of every record.
    fn log(&self) -> Vec<(String, String, String)> {
        records(&fs::read_to_string(self.path("0.log")).unwrap())
    }
}

fn records(text: &str) -> Vec<(String, String, String)> {
    let parse = |line: &str| {
        let mut parts = line.splitn(4, ' ');
        assert_eq!(parts.next().unwrap().len(), 30, "{line:?}");
        let mut next = || parts.next().unwrap().to_owned();
        (next(), next(), next())
    };
    text.split_terminator('\n').map(parse).collect()
}

fn record(stream: &str, tag: &str, text: &str) -> (String, String, String) {
    (stream.to_owned(), tag.to_owned(), text.to_owned())
}

fn run(script: &str, child: ChildStdio) -> Child {
    Command::new("sh")
        .args(["-c", script])
        .stdin(child.stdin)
        .stdout(child.stdout)
        .stderr(child.stderr)
        .spawn()
        .unwrap()
}

async fn exit(mut child: Child) -> i32 {
    let wait = tokio::task::spawn_blocking(move || child.wait().unwrap().code().unwrap_or(-1));
    timeout(SOON, wait).await.expect("the process hangs").unwrap()
}

/// Reads frames until the other side closes; the bytes of each stream.
fn read_frames(mut socket: UnixStream) -> [Vec<u8>; 3] {
    let mut streams: [Vec<u8>; 3] = Default::default();
    let mut header = [0; 5];
    while socket.read_exact(&mut header).is_ok() {
        let length = u32::from_be_bytes(header[1..].try_into().unwrap());
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        socket.read_exact(&mut bytes).unwrap();
        streams[usize::from(header[0])].extend(bytes);
    }
    streams
}

fn attach(io: &ContainerIo, to: AttachTo, directory: &Path) -> UnixStream {
    UnixStream::connect(io.attach(to, directory).unwrap()).unwrap()
}

/// Waits until a log has so many lines.
async fn has_lines(log: &Path, lines: usize) {
    let end = Instant::now() + SOON;
    while fs::read_to_string(log).unwrap_or_default().lines().count() < lines {
        assert!(Instant::now() < end, "{} has fewer than {lines} lines", log.display());
        sleep(Duration::from_millis(10)).await;
    }
}

fn frame(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), bytes].concat()
}

const OUTPUT: AttachTo = AttachTo { stdin: false, stdout: true, stderr: true };

#[tokio::test]
async fn both_streams_are_logged_and_a_line_without_an_end_is_partial() {
    let bundle = Bundle::new();
    let (io, child) = bundle.open(bundle.logged());
    let child = run("echo one; echo two >&2; printf three", child);
    assert_eq!(exit(child).await, 0);
    io.drained().await;
    let mut log = bundle.log();
    log.sort();
    assert_eq!(
        log,
        [
            record("stderr", "F", "two"),
            record("stdout", "F", "one"),
            record("stdout", "P", "three")
        ]
    );
    io.close();
    assert!(!bundle.path("stdout").exists(), "the pipe was left");
}

#[tokio::test]
async fn a_child_that_outlives_the_process_does_not_hold_up_the_drain() {
    let bundle = Bundle::new();
    let (io, child) = bundle.open(bundle.logged());
    let go = bundle.path("go");
    let late = format!("while [ ! -e {} ]; do sleep 0.02; done; echo late", go.display());
    let child = run(&format!("({late}) & echo early"), child);
    assert_eq!(exit(child).await, 0);
    let start = Instant::now();
    io.drained().await;
    assert!(start.elapsed() < Duration::from_millis(500));
    assert_eq!(bundle.log(), [record("stdout", "F", "early")]);
    fs::write(go, "").unwrap();
    has_lines(&bundle.path("0.log"), 2).await;
    assert_eq!(bundle.log().last(), Some(&record("stdout", "F", "late")));
}

#[tokio::test]
async fn two_hundred_megabytes_are_logged_without_a_flaw() {
    const LINES: usize = 2_000_000;
    let bundle = Bundle::new();
    let fill = filler(LINES);
    let (io, child) = bundle.open(bundle.logged());
    let (start, before) = (Instant::now(), cpu());
    let child = Command::new("cat").arg(&fill).stdout(child.stdout).spawn().unwrap();
    assert_eq!(exit(child).await, 0);
    io.drained().await;
    let (time, used) = (start.elapsed(), cpu() - before);
    eprintln!("200 MB in {time:?}, {used:?} of CPU here");
    let mut log = BufReader::with_capacity(1 << 20, fs::File::open(bundle.path("0.log")).unwrap());
    let mut record = Vec::new();
    for n in 0..LINES {
        record.clear();
        log.read_until(b'\n', &mut record).unwrap();
        assert_eq!(record[30..40], *b" stdout F ", "line {n}");
        assert_eq!(record[40..], line(n), "line {n}");
    }
    assert_eq!(log.read(&mut [0]).unwrap(), 0, "more was logged than written");
    fs::remove_file(fill).unwrap();
}

/// A numbered line of 100 bytes.
fn line(mut number: usize) -> [u8; 100] {
    let mut line = [b'x'; 100];
    line[99] = b'\n';
    for digit in line[..99].iter_mut().rev().take(8) {
        *digit = b'0' + u8::try_from(number % 10).unwrap();
        number /= 10;
    }
    line
}

fn filler(lines: usize) -> PathBuf {
    let (file, path) = tempfile::NamedTempFile::new().unwrap().keep().unwrap();
    let mut file = BufWriter::with_capacity(1 << 20, file);
    for n in 0..lines {
        file.write_all(&line(n)).unwrap();
    }
    file.flush().unwrap();
    path
}

/// CPU time of this thread, which is the one that copies.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

#[tokio::test]
async fn reopening_under_load_loses_splits_and_doubles_no_line() {
    let bundle = Bundle::new();
    let (io, child) = bundle.open(bundle.logged());
    let child = run("i=0; while [ $i -lt 60000 ]; do echo line-$i; i=$((i+1)); done", child);
    let mut waiting = tokio::spawn(exit(child));
    let mut rotated = Vec::new();
    while timeout(Duration::from_millis(20), &mut waiting).await.is_err() {
        let old = bundle.path(&format!("0.log.{}", rotated.len()));
        fs::rename(bundle.path("0.log"), &old).unwrap();
        io.reopen().unwrap();
        assert!(bundle.path("0.log").exists());
        rotated.push(old);
    }
    io.drained().await;
    assert!(rotated.len() > 1, "the load was over too soon");
    let mut all: Vec<_> =
        rotated.iter().flat_map(|old| records(&fs::read_to_string(old).unwrap())).collect();
    all.extend(bundle.log());
    assert_eq!(all.len(), 60_000);
    for (n, line) in all.iter().enumerate() {
        assert_eq!(*line, record("stdout", "F", &format!("line-{n}")));
    }
}

#[tokio::test]
async fn a_reopen_that_fails_keeps_the_old_file() {
    let bundle = Bundle::new();
    fs::create_dir(bundle.path("logs")).unwrap();
    let log = Stdio::CriLog(bundle.path("logs/0.log"));
    let (io, child) = bundle.open(Streams { stdout: log, ..Default::default() });
    fs::rename(bundle.path("logs"), bundle.path("moved")).unwrap();
    let error = io.reopen().unwrap_err().to_string();
    assert!(error.contains("logs does not exist"), "{error}");
    assert_eq!(exit(run("echo on", child)).await, 0);
    io.drained().await;
    assert!(fs::read_to_string(bundle.path("moved/0.log")).unwrap().ends_with(" on\n"));
}

#[tokio::test]
async fn every_attachment_gets_all_output_while_one_is_stalled() {
    let bundle = Bundle::new();
    let (io, child) = bundle.open(bundle.logged());
    let stalled = attach(&io, OUTPUT, bundle.0.path());
    let readers: Vec<_> = ["b", "c"]
        .map(|_| {
            let socket = attach(&io, OUTPUT, bundle.0.path());
            thread::spawn(move || read_frames(socket))
        })
        .into();
    // Accepting happens on this thread.
    sleep(Duration::from_millis(100)).await;
    let script = "i=0; while [ $i -lt 40 ]; do head -c 50000 /dev/zero | tr '\\0' a; echo; \
                  sleep 0.02; i=$((i+1)); done; echo err >&2";
    let start = Instant::now();
    assert_eq!(exit(run(script, child)).await, 0);
    io.drained().await;
    assert!(start.elapsed() < Duration::from_secs(10), "the stalled one held the others up");
    for reader in readers {
        let waiting = tokio::task::spawn_blocking(move || reader.join().unwrap());
        let [_, stdout, stderr] = timeout(SOON, waiting).await.unwrap().unwrap();
        assert_eq!(stdout.len(), 40 * 50_001);
        assert_eq!(stderr, b"err\n");
    }
    assert_eq!(bundle.log().len(), 40 * 4 + 1);
    // The stalled one finds whole frames: some output, then the end of its streams.
    let waiting = tokio::task::spawn_blocking(move || read_frames(stalled));
    let [_, stdout, _] = timeout(SOON, waiting).await.unwrap().unwrap();
    assert!(!stdout.is_empty() && stdout.len() < 40 * 50_001);
}

#[tokio::test]
async fn an_attach_socket_takes_one_connection() {
    let bundle = Bundle::new();
    let (io, child) = bundle.open(bundle.logged());
    let socket = io.attach(OUTPUT, bundle.0.path()).unwrap();
    let _first = UnixStream::connect(&socket).unwrap();
    sleep(Duration::from_millis(100)).await;
    assert!(!socket.exists());
    drop(child);
}

#[tokio::test]
async fn input_from_an_attachment_reaches_the_process_and_ends_when_it_shall() {
    let bundle = Bundle::new();
    let streams = Streams { stdin: Stdio::Attach, stdin_once: true, ..bundle.logged() };
    let (io, child) = bundle.open(streams);
    let child = run("cat; echo end", child);
    let both = AttachTo { stdin: true, stdout: true, stderr: false };
    let mut socket = attach(&io, both, bundle.0.path());
    sleep(Duration::from_millis(100)).await;
    socket.write_all(&frame(b"hello\n")).unwrap();
    socket.write_all(&frame(b"")).unwrap();
    assert_eq!(exit(child).await, 0);
    let waiting = tokio::task::spawn_blocking(move || read_frames(socket));
    let [_, stdout, _] = timeout(SOON, waiting).await.unwrap().unwrap();
    assert_eq!(stdout, b"hello\nend\n");
}

#[tokio::test]
async fn input_that_is_not_once_stays_open_for_the_next_attachment() {
    let bundle = Bundle::new();
    let (io, child) = bundle.open(Streams { stdin: Stdio::Attach, ..bundle.logged() });
    let child = run("cat", child);
    let input = AttachTo { stdin: true, ..Default::default() };
    for (lines, text) in [(1, "one\n"), (2, "two\n")] {
        let mut socket = attach(&io, input, bundle.0.path());
        socket.write_all(&frame(text.as_bytes())).unwrap();
        socket.write_all(&frame(b"")).unwrap();
        has_lines(&bundle.path("0.log"), lines).await;
    }
    io.close_stdin();
    assert_eq!(exit(child).await, 0);
    io.drained().await;
    assert_eq!(bundle.log(), [record("stdout", "F", "one"), record("stdout", "F", "two")]);
}

#[tokio::test]
async fn a_process_without_streams_can_not_be_attached_to() {
    let bundle = Bundle::new();
    let (io, _child) = bundle.open(Streams::default());
    assert!(io.attach(OUTPUT, bundle.0.path()).is_err());
    assert!(io.resize(80, 24).is_err());
    assert_eq!(fs::read_dir(bundle.0.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_plain_pipe_keeps_the_last_output_for_a_reader_that_is_away() {
    let bundle = Bundle::new();
    let path = bundle.path("out");
    super::fifo::make(&path).unwrap();
    // Nobody reads yet, and opening does not wait for it.
    let streams = Streams { stdout: Stdio::Path(path.clone()), ..Default::default() };
    let (io, child) = bundle.open(streams);
    assert_eq!(exit(run("echo hello", child)).await, 0);
    let mut text = String::new();
    fs::File::from(super::fifo::reader(&path).unwrap()).read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello\n");
    drop(io);
}

#[tokio::test]
async fn a_reader_that_goes_away_breaks_an_exec_and_not_a_container() {
    for (reader_gone, status) in [(ReaderGone::Blocks, 0), (ReaderGone::Breaks, 141)] {
        let bundle = Bundle::new();
        let path = bundle.path("out");
        super::fifo::make(&path).unwrap();
        let reader = super::fifo::reader(&path).unwrap();
        let streams = Streams { stdout: Stdio::Path(path), reader_gone, ..Default::default() };
        let (_io, child) = bundle.open(streams);
        let child = run("sleep 0.2; (echo a; echo b); exit $?", child);
        drop(reader);
        assert_eq!(exit(child).await, status, "{reader_gone:?}");
    }
}

#[tokio::test]
async fn input_from_a_plain_pipe_ends_only_when_the_hold_is_let_go() {
    let bundle = Bundle::new();
    let path = bundle.path("in");
    super::fifo::make(&path).unwrap();
    let streams = Streams { stdin: Stdio::Path(path.clone()), ..bundle.logged() };
    let (io, child) = bundle.open(streams);
    let child = run("cat; echo end", child);
    for text in ["one\n", "two\n"] {
        fs::OpenOptions::new().write(true).open(&path).unwrap().write_all(text.as_bytes()).unwrap();
        sleep(Duration::from_millis(50)).await;
    }
    io.close_stdin();
    assert_eq!(exit(child).await, 0);
    io.drained().await;
    let text: Vec<_> = bundle.log().into_iter().map(|(_, _, text)| text).collect();
    assert_eq!(text, ["one", "two", "end"]);
}

/// A stand-in for what a runtime does with a console socket, in Python for its `send_fds`. The end of
/// its input starts the process.
const RUNTIME: &str = "
import os, socket, sys
master, slave = os.openpty()
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
socket.send_fds(s, [b'/dev/ptmx'], [master]); s.close(); os.close(master)
sys.stdin.read()
pid = os.fork()
if pid == 0:
    os.setsid()
    import fcntl, termios
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2): os.dup2(slave, fd)
    os.close(slave)
    os.execvp('sh', ['sh', '-c', sys.argv[2]])
os.close(slave)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";

async fn with_terminal(io: &ContainerIo, script: &str) -> Child {
    let socket = io.console_socket().unwrap();
    let mut runtime = Command::new("python3");
    runtime.args(["-c", RUNTIME]).arg(socket).arg(script).stdin(process::Stdio::piped());
    let mut runtime = runtime.spawn().expect("python3 is needed");
    io.receive_console(SOON).await.unwrap();
    drop(runtime.stdin.take());
    runtime
}

#[tokio::test]
async fn a_terminal_is_logged_as_one_stream_fed_and_resized() {
    // Longer than a socket's address.
    let deep = tempfile::tempdir().unwrap();
    let directory = deep.path().join("d".repeat(120));
    fs::create_dir(&directory).unwrap();
    let log = directory.join("0.log");
    let streams = Streams {
        stdin: Stdio::Attach,
        stdout: Stdio::CriLog(log.clone()),
        terminal: true,
        ..Default::default()
    };
    let (io, child) = ContainerIo::open(&directory, streams).unwrap();
    drop(child);
    io.resize(90, 30).unwrap();
    let script = "stty size; read x; echo got $x >&2; stty size; printf end";
    let process = with_terminal(&io, script).await;
    let input = AttachTo { stdin: true, stdout: true, stderr: true };
    let mut socket = attach(&io, input, deep.path());
    has_lines(&log, 1).await;
    io.resize(100, 40).unwrap();
    socket.write_all(&frame(b"hello\n")).unwrap();
    assert_eq!(exit(process).await, 0);
    io.drained().await;
    let lines: Vec<_> = records(&fs::read_to_string(&log).unwrap());
    assert_eq!(
        lines,
        [
            record("stdout", "F", "30 90\r"),
            record("stdout", "F", "hello\r"),
            record("stdout", "F", "got hello\r"),
            record("stdout", "F", "40 100\r"),
            record("stdout", "P", "end"),
        ]
    );
    let waiting = tokio::task::spawn_blocking(move || read_frames(socket));
    let [_, stdout, _] = timeout(SOON, waiting).await.unwrap().unwrap();
    assert!(stdout.ends_with(b"40 100\r\nend"), "{}", String::from_utf8_lossy(&stdout));
}

#[tokio::test]
async fn a_terminal_on_plain_pipes_is_relayed_both_ways() {
    let bundle = Bundle::new();
    let (path, input) = (bundle.path("out"), bundle.path("in"));
    super::fifo::make(&path).unwrap();
    super::fifo::make(&input).unwrap();
    let streams = Streams {
        stdin: Stdio::Path(input.clone()),
        stdout: Stdio::Path(path.clone()),
        terminal: true,
        ..Default::default()
    };
    let (io, _child) = bundle.open(streams);
    let process = with_terminal(&io, "stty -echo; echo ready; read x; echo got $x").await;
    let talk = tokio::task::spawn_blocking(move || {
        let mut output = fs::File::open(path).unwrap();
        let mut text = Vec::new();
        let mut byte = [0];
        while !text.ends_with(b"ready\r\n") {
            output.read_exact(&mut byte).unwrap();
            text.push(byte[0]);
        }
        fs::OpenOptions::new().write(true).open(input).unwrap().write_all(b"hello\n").unwrap();
        let mut rest = vec![0; "got hello\r\n".len()];
        output.read_exact(&mut rest).unwrap();
        rest
    });
    assert_eq!(timeout(SOON, talk).await.unwrap().unwrap(), b"got hello\r\n");
    assert_eq!(exit(process).await, 0);
}

#[tokio::test]
async fn a_runtime_that_never_sends_its_terminal_is_given_up() {
    let bundle = Bundle::new();
    let (io, _child) = bundle.open(Streams { terminal: true, ..bundle.logged() });
    let error = io.receive_console(Duration::from_millis(50)).await.unwrap_err();
    assert!(error.to_string().contains("no terminal came"), "{error}");
}

#[test]
fn what_cannot_be_opened_is_named_and_nothing_is_left() {
    let bundle = Bundle::new();
    let missing = Stdio::CriLog(bundle.path("no/0.log"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    for (streams, cause) in [
        (Streams { stdout: missing, ..Default::default() }, "no does not exist"),
        (
            Streams {
                stdin: Stdio::Attach,
                stdout: Stdio::Path(bundle.path("none")),
                ..Default::default()
            },
            "none",
        ),
    ] {
        let error = ContainerIo::open(bundle.0.path(), streams).err().unwrap().to_string();
        assert!(error.contains(cause), "{error}");
        assert_eq!(fs::read_dir(bundle.0.path()).unwrap().count(), 0);
    }
}
