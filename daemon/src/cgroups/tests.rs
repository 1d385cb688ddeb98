// SPDX-License-Identifier: Apache-2.0
//! On this host's own cgroups. These need root; without it they fail and say so.

use std::{process::Command, time::Instant};

use super::*;

/// Cgroups of its own, removed at the end.
struct Scratch(Cgroups, String);

impl Scratch {
    fn new(name: &str) -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test makes cgroups: run it as root");
        let scratch = Self(Cgroups::detect(Driver::Cgroupfs).unwrap(), format!("/crisp-{name}"));
        scratch.0.create(&scratch.1).unwrap();
        scratch
    }

    fn join(&self, pid: u32) {
        for controller in ["memory", "cpuacct", "cpu", "pids"] {
            if let Some(directory) = self.0.hierarchies().directory(controller, &self.1) {
                std::fs::write(directory.join("cgroup.procs"), pid.to_string()).unwrap();
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.0.remove(&self.1);
    }
}

#[tokio::test]
async fn a_process_shows_in_its_cgroups_usage_until_it_is_killed() {
    let scratch = Scratch::new("usage-test");
    let mut child = Command::new("sh")
        .args(["-c", "read go; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; exec sleep 60"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    scratch.join(child.id());
    io::Write::write_all(&mut child.stdin.take().unwrap(), b"\n").unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    let usage = loop {
        let usage = scratch.0.usage([scratch.1.as_str()], Detail::Metrics).remove(0).unwrap();
        if usage.cpu.is_some_and(|cpu| cpu.total_ns > 1_000_000) || Instant::now() > until {
            break usage;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(usage.cpu.unwrap().total_ns > 1_000_000);
    assert!(usage.memory.unwrap().usage > 0);
    assert_eq!(usage.tasks.unwrap().current, 1);
    assert_eq!(scratch.0.processes(&scratch.1).unwrap(), [i32::try_from(child.id()).unwrap()]);
    let reaped = std::thread::spawn(move || child.wait().unwrap());
    scratch.0.kill(&scratch.1).await.unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&reaped.join().unwrap()), Some(9));
}

/// CPU time of this thread so far.
fn cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.try_into().unwrap()
}

#[test]
fn a_cgroup_that_is_gone_is_told_from_one_that_is_idle() {
    let scratch = Scratch::new("gone-test");
    let usage = scratch.0.usage([scratch.1.as_str(), "/crisp-never-there"], Detail::Container);
    assert!(usage[0].is_some() && usage[1].is_none());
}

/// CPU time, for other work shares the machine; `--nocapture` shows the figures. The bound allows
/// for a build without optimisation.
#[test]
fn a_hundred_cgroups_are_read_in_milliseconds() {
    let scratch = Scratch::new("speed-test");
    let paths: Vec<String> = (0..100).map(|i| format!("{}/c{i}", scratch.1)).collect();
    for path in &paths {
        scratch.0.create(path).unwrap();
    }
    for detail in [Detail::Container, Detail::Pod, Detail::Metrics] {
        let mut took = Duration::MAX;
        for _ in 0..5 {
            let begun = cpu_time();
            let usage = scratch.0.usage(paths.iter().map(String::as_str), detail);
            took = took.min(cpu_time() - begun);
            assert!(usage.iter().all(Option::is_some));
        }
        println!("{detail:?} of 100 cgroups: {took:?}");
        assert!(took < Duration::from_millis(50), "{detail:?} of 100 cgroups took {took:?}");
    }
}
