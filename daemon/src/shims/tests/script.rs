// SPDX-License-Identifier: Apache-2.0
//! Shims that misbehave: shell scripts.

use std::{fs, time::Duration};

use crisp_script::program;
use tokio::time::{Instant, timeout};

use super::{
    super::{BootstrapResult, Dialect, EventsTo, Launch, Launcher, ShimError, Verbosity},
    SOON,
};

/// A shim that is a shell script.
struct Script(tempfile::TempDir);

impl Script {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        program(&dir.path().join("shim"), text).unwrap();
        Self(dir)
    }

    async fn start(&self, deadline: Duration) -> Result<BootstrapResult, ShimError> {
        let launcher = Launcher::new(
            "crisp-test".to_owned(),
            "/none".into(),
            "/none".into(),
            Verbosity::Debug,
        );
        let launch = Launch {
            binary: &self.0.path().join("shim"),
            id: "c",
            bundle: self.0.path(),
            dialect: Dialect::Auto,
            options: None,
            events: EventsTo::Daemon,
            socket_dir: None,
            environment: Vec::new(),
        };
        launcher.start(&launch, deadline).await
    }
}

#[tokio::test]
async fn a_warning_on_standard_error_does_not_spoil_the_answer() {
    let shim = Script::new("echo careful >&2; echo unix:///run/s/a");
    assert_eq!(shim.start(SOON).await.unwrap().address, "unix:///run/s/a");
}

#[tokio::test]
async fn a_server_that_keeps_the_output_open_does_not_hold_up_the_start() {
    let shim = Script::new("sleep 5 & echo unix:///run/s/a");
    let start = Instant::now();
    shim.start(SOON).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_shim_that_fails_is_quoted() {
    let shim = Script::new("echo no such luck >&2; exit 3");
    let error = shim.start(SOON).await.unwrap_err().to_string();
    assert!(error.contains("no such luck") && error.contains("exit status: 3"), "{error}");
}

#[tokio::test]
async fn a_shim_that_hangs_is_killed_with_all_that_it_started() {
    let shim = Script::new("sleep 1000 & echo $! > child; wait");
    let error = shim.start(Duration::from_secs(2)).await.unwrap_err();
    assert!(matches!(error, ShimError::Deadline { .. }), "{error}");
    let child = fs::read_to_string(shim.0.path().join("child")).unwrap();
    let status = format!("/proc/{}/status", child.trim());
    let dead = async {
        while fs::read_to_string(&status).is_ok_and(|s| !s.contains("State:\tZ")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, dead).await.expect("its child lives on");
}

#[tokio::test]
async fn a_shim_that_reads_only_the_old_dialect_is_started_in_it() {
    // Params name the instance first; an empty Any is nothing at all.
    let shim = Script::new("[ -z \"$(cat | tr -d '\\0')\" ] && echo unix:///run/s/a");
    assert_eq!(shim.start(SOON).await.unwrap().address, "unix:///run/s/a");
}

#[tokio::test]
async fn a_missing_shim_is_named() {
    let script = Script::new("");
    fs::remove_file(script.0.path().join("shim")).unwrap();
    let error = script.start(SOON).await.unwrap_err();
    assert!(matches!(error, ShimError::Spawn { .. }), "{error}");
    assert!(error.to_string().contains("/shim: No such file"), "{error}");
}
