// SPDX-License-Identifier: Apache-2.0
//! A pod's I/O helper as the daemon looks after it, with plain processes as the containers of a
//! third-party shim.

use std::{
    fs,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

use crisp_words::ContainerId;
use rustix::{
    fs::OFlags,
    process::{Pid, Signal, kill_process},
};
use tokio::time::{sleep, timeout};

use super::{
    super::{
        Dialect, EventsTo, IoHelper, IoStdin, IoTerminal, Launch, Launcher, OpenIo, PodIo,
        ShimTarget, StdioAddresses, TaskApi, Verbosity,
    },
    SOON,
    crisp_shim::binary,
};

/// A pod's directory: its bundle, and the bundle of its one container.
struct Pod {
    dir: tempfile::TempDir,
    id: ContainerId,
}

impl Pod {
    /// `None`, and why on standard error, where the shim is missing or we are not root.
    fn new() -> Option<Self> {
        if !binary().exists() || !rustix::process::geteuid().is_root() {
            eprintln!("not run: needs root and {}", binary().display());
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        for name in ["pod", "c", "s"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Some(Self { dir, id: ContainerId::new("c").unwrap() })
    }

    /// The helper, for a daemon that has just begun.
    async fn helper(&self) -> IoHelper {
        let events = self.dir.path().join("events.sock");
        let publisher = "/proc/self/exe".into();
        let launcher = Launcher::new("crisp-test".to_owned(), events, publisher, Verbosity::Normal);
        let launch = Launch {
            binary: &binary(),
            id: "pod",
            bundle: &self.dir.path().join("pod"),
            dialect: Dialect::Params,
            options: None,
            events: EventsTo::Daemon,
            socket_dir: Some(&self.dir.path().join("s")),
            environment: Vec::new(),
        };
        launcher.io_helper(&launch, SOON).await.unwrap()
    }

    async fn open(&self, helper: &IoHelper) -> StdioAddresses {
        let open = OpenIo {
            id: &self.id,
            dir: &self.dir.path().join("c"),
            log: &self.dir.path().join("0.log"),
            terminal: IoTerminal::None,
            stdin: IoStdin::Null,
            shim: &ShimTarget {
                address: "unix:///nowhere".to_owned(),
                namespace: "crisp-test".to_owned(),
                task_api: TaskApi::V2,
            },
        };
        helper.open(&open, SOON).await.unwrap()
    }

    /// The log is `1` to `lines`, each once and whole.
    fn judge(&self, lines: usize) {
        let text = fs::read_to_string(self.dir.path().join("0.log")).unwrap();
        let mut records = text.lines().map(|record| &record[31..]);
        for n in 1..=lines {
            assert_eq!(records.next(), Some(format!("stdout F {n}").as_str()));
        }
        assert_eq!(records.next(), None);
    }
}

/// A program that writes numbered lines, and the hold on its pipe that a shim keeps.
fn count(to: usize, stdio: &StdioAddresses) -> (Child, fs::File) {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let hold = fs::OpenOptions::new().read(true).custom_flags(flags).open(&stdio.stdout).unwrap();
    let output = fs::OpenOptions::new().write(true).open(&stdio.stdout).unwrap();
    let counting = Command::new("seq").args(["1", &to.to_string()]).stdout(output).spawn();
    (counting.unwrap(), hold)
}

async fn finished(mut child: Child) {
    let waiting = tokio::task::spawn_blocking(move || child.wait().unwrap());
    assert!(timeout(SOON * 3, waiting).await.expect("the writer hangs").unwrap().success());
}

fn kill(helper: &IoHelper) -> u32 {
    let pid = helper.pid();
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
    pid
}

async fn replaced(helper: &IoHelper, dead: u32) {
    let end = Instant::now() + SOON;
    while helper.pid() == dead {
        assert!(Instant::now() < end, "the helper is not replaced");
        sleep(Duration::from_millis(2)).await;
    }
}

fn lives(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| crisp_words::runs(&stat))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_helper_that_dies_is_replaced_and_no_line_is_lost() {
    const LINES: usize = 800_000;
    let Some(pod) = Pod::new() else { return };
    let helper = pod.helper().await;
    let stdio = pod.open(&helper).await;
    let (counting, _hold) = count(LINES, &stdio);
    for _ in 0..4 {
        sleep(Duration::from_millis(20)).await;
        let dead = kill(&helper);
        replaced(&helper, dead).await;
    }
    finished(counting).await;
    // Asked of a helper that dies meanwhile: its successor answers.
    kill(&helper);
    PodIo::Helper(helper.clone()).drained(&pod.id, SOON).await.unwrap();
    pod.judge(LINES);
    let pid = helper.pid();
    helper.shutdown(SOON).await;
    let end = Instant::now() + SOON;
    while lives(pid) {
        assert!(Instant::now() < end, "the helper does not end");
        sleep(Duration::from_millis(5)).await;
    }
    // Nobody replaces one that was told to end.
    sleep(Duration::from_millis(300)).await;
    assert_eq!(fs::read_dir(pod.dir.path().join("s")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(pod.dir.path().join("c")).unwrap().count(), 0);
    assert!(!Path::new(&pod.dir.path().join("pod/io-helper.json")).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_daemon_finds_the_helper_or_one_in_its_place() {
    const LINES: usize = 1_000_000;
    let Some(pod) = Pod::new() else { return };
    let helper = pod.helper().await;
    let stdio = pod.open(&helper).await;
    let (counting, _hold) = count(LINES, &stdio);
    let pid = helper.pid();
    drop(helper);
    // While there is no daemon the output goes on.
    let helper = pod.helper().await;
    assert_eq!(helper.pid(), pid);
    assert_eq!(pod.open(&helper).await, stdio);
    // It dies while there is no daemon.
    drop(helper);
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
    let helper = pod.helper().await;
    assert_ne!(helper.pid(), pid);
    finished(counting).await;
    let io = PodIo::Helper(helper.clone());
    io.drained(&pod.id, SOON).await.unwrap();
    pod.judge(LINES);
    fs::rename(pod.dir.path().join("0.log"), pod.dir.path().join("0.log.1")).unwrap();
    io.reopen_log(&pod.id, SOON).await.unwrap();
    assert!(pod.dir.path().join("0.log").exists());
    helper.close(&pod.id, SOON).await.unwrap();
    helper.close(&pod.id, SOON).await.unwrap();
    assert!(io.reopen_log(&pod.id, SOON).await.unwrap_err().is_not_found());
    helper.shutdown(SOON).await;
}
