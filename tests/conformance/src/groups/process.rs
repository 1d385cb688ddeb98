// SPDX-License-Identifier: Apache-2.0
//! What a container's process is given, and how its end is told.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use crisp_cri::*;
use futures::future::try_join_all;
use serde_json::json;

use crate::case::{Outcome, cases};
use crate::edit::{EditContainer as _, strings};
use crate::fixture::{Test, image_spec};
use crate::want::{contains, equal, refused, so};

cases! { "process";
    "exit code 0 has the reason Completed" => completed,
    "another exit code has the reason Error" => error,
    "death by a signal is 128+n" => signal,
    "a command that does not exist is refused by name, at the latest when started" => start_error,
    "a directory as command is refused, at the latest when started" => start_directory,
    "stop ends a process that ignores the signal after its grace" => grace,
    "stop with a grace of 0 kills at once" => no_grace,
    "stop lets a process end in its own way" => own_end,
    "stop of a created container succeeds" => stop_created,
    "stop sends the configured stop signal" => stop_signal,
    "stop sends the image's stop signal" => image_stop_signal,
    "the configured stop signal wins over the image's" => signal_wins,
    "status tells the stop signal in effect" => signal_in_status,
    "concurrent stops all succeed" => concurrent_stops,
    "a shorter stop shortens a longer one" => shorter_stop,
    "environment values are kept byte for byte" => env_bytes,
    "an environment value that is not UTF-8 is kept or refused, never changed" => env_not_utf8,
    "the config's variables win over the image's" => env_override,
    "image entrypoint and cmd are the defaults" => image_defaults,
    "args replace the image's cmd" => args,
    "a command replaces the entrypoint and drops the image's cmd" => command,
    "command and args are joined" => command_and_args,
    "neither command nor entrypoint is refused" => nothing_to_run,
    "the working directory defaults to the image's" => image_cwd,
    "the configured working directory wins" => cwd,
    "a missing working directory is made" => missing_cwd,
    "the working directory defaults to /" => root_cwd,
    "PATH is used to find the command" => path,
    "a terminal is a terminal and TERM is set" => tty,
    "a container sees its own processes only" => own_pids,
}

async fn completed(t: Test) -> Outcome {
    let status = t.pod().await?.script("exit 0").await?.exited().await?;
    equal("ContainerStatus.exit_code", status.exit_code, 0)?;
    equal("ContainerStatus.reason", status.reason, "Completed")
}

async fn error(t: Test) -> Outcome {
    let status = t.pod().await?.script("exit 7").await?.exited().await?;
    equal("ContainerStatus.exit_code", status.exit_code, 7)?;
    equal("ContainerStatus.reason", status.reason, "Error")
}

async fn signal(t: Test) -> Outcome {
    let pod = t.pod().await?;
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139)] {
        let status = pod.script(&format!("kill -{signal} $$")).await?.exited().await?;
        equal(&format!("exit_code after SIG{signal}"), status.exit_code, code)?;
        equal("ContainerStatus.reason", status.reason, "Error")?;
    }
    Ok(())
}

/// OCI runtimes look for the program when they make the container, and a CRI runtime makes it in
/// CreateContainer or in StartContainer: either may refuse. A container that was made has then
/// ended with code 128.
async fn cannot_start(t: &Test, program: &str) -> anyhow::Result<crate::cri::CallError> {
    let pod = t.pod().await?;
    let container = match pod.create(|c| c.command(&[program])).await {
        Ok(container) => container,
        Err(error) => return refused("CreateContainer", Err::<(), _>(error)),
    };
    let error = refused("StartContainer", container.start().await)?;
    let status = container.status().await?;
    equal("ContainerStatus.state", status.state(), ContainerState::ContainerExited)?;
    equal("ContainerStatus.exit_code", status.exit_code, 128)?;
    equal("ContainerStatus.reason", status.reason.as_str(), "StartError")?;
    so("finished_at is set", status.finished_at > 0, &status)?;
    Ok(error)
}

async fn start_error(t: Test) -> Outcome {
    let error = cannot_start(&t, "/no/such/command").await?;
    contains("the error", error.status.message(), "/no/such/command")
}

async fn start_directory(t: Test) -> Outcome {
    cannot_start(&t, "/tmp").await.map(drop)
}

const STUBBORN: &str = "trap 'echo caught' TERM; echo ready; while :; do sleep 0.1; done";

async fn grace(t: Test) -> Outcome {
    let container = t.pod().await?.script(STUBBORN).await?;
    container.logged("ready").await?;
    let start = Instant::now();
    container.stop(2).await?;
    let took = start.elapsed();
    let fits = (Duration::from_millis(1900)..Duration::from_secs(8)).contains(&took);
    so("StopContainer returns after about 2 s", fits, took)?;
    let status = container.status().await?;
    equal("ContainerStatus.state", status.state(), ContainerState::ContainerExited)?;
    equal("ContainerStatus.exit_code", status.exit_code, 137)?;
    so("the process saw SIGTERM", container.out()?.contains(&"caught".to_owned()), container.out()?)
}

async fn no_grace(t: Test) -> Outcome {
    let container = t.pod().await?.script(STUBBORN).await?;
    container.logged("ready").await?;
    let start = Instant::now();
    container.stop(0).await?;
    so("StopContainer returns at once", start.elapsed().as_secs() < 5, start.elapsed())?;
    let status = container.status().await?;
    equal("ContainerStatus.exit_code", status.exit_code, 137)?;
    let caught = container.out()?.contains(&"caught".to_owned());
    so("the process saw no SIGTERM", !caught, container.out()?)
}

async fn own_end(t: Test) -> Outcome {
    let script = "trap 'echo bye; exit 9' TERM; echo ready; while :; do sleep 0.1; done";
    let container = t.pod().await?.script(script).await?;
    container.logged("ready").await?;
    container.stop(30).await?;
    equal("ContainerStatus.exit_code", container.status().await?.exit_code, 9)?;
    equal("lines", container.out()?, vec!["ready", "bye"])
}

async fn stop_created(t: Test) -> Outcome {
    let container = t.pod().await?.create(|_| ()).await?;
    container.stop(5).await?;
    container.remove().await?;
    Ok(())
}

/// Tells the signal that ended it by its exit code.
const SIGNALS: &str = "trap 'exit 11' TERM; trap 'exit 12' USR1; trap 'exit 13' USR2; \
    echo ready; while :; do sleep 0.1; done";

async fn stop_signal(t: Test) -> Outcome {
    let edit = |c: &mut ContainerConfig| {
        c.script(SIGNALS);
        c.stop_signal = Signal::Sigusr1.into();
    };
    let container = t.pod().await?.start(edit).await?;
    container.logged("ready").await?;
    container.stop(20).await?;
    equal("exit code (12 is SIGUSR1)", container.status().await?.exit_code, 12)
}

async fn image_stop_signal(t: Test) -> Outcome {
    let registry = t.registry().await?;
    let config = json!({ "Cmd": ["sh", "-c", SIGNALS], "StopSignal": "SIGUSR2" });
    let image = registry.image("stop:1").busybox().await?.config(config).push()?;
    t.pull_for_now(&image).await?;
    let edit = |c: &mut ContainerConfig| {
        c.image = Some(image_spec(&image));
        c.command.clear();
    };
    let container = t.pod().await?.start(edit).await?;
    container.logged("ready").await?;
    equal("ContainerStatus.stop_signal", container.status().await?.stop_signal(), Signal::Sigusr2)?;
    container.stop(20).await?;
    equal("exit code (13 is SIGUSR2)", container.status().await?.exit_code, 13)
}

async fn signal_wins(t: Test) -> Outcome {
    let registry = t.registry().await?;
    let config = json!({ "Cmd": ["sh", "-c", SIGNALS], "StopSignal": "SIGUSR2" });
    let image = registry.image("stop:2").busybox().await?.config(config).push()?;
    t.pull_for_now(&image).await?;
    let edit = |c: &mut ContainerConfig| {
        c.image = Some(image_spec(&image));
        c.command.clear();
        c.stop_signal = Signal::Sigusr1.into();
    };
    let container = t.pod().await?.start(edit).await?;
    container.logged("ready").await?;
    container.stop(20).await?;
    equal("exit code (12 is SIGUSR1)", container.status().await?.exit_code, 12)
}

async fn signal_in_status(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let default = pod.create(|_| ()).await?.status().await?;
    equal("stop_signal by default", default.stop_signal(), Signal::Sigterm)?;
    let asked = pod.create(|c| c.stop_signal = Signal::Sigquit.into()).await?.status().await?;
    equal("stop_signal as asked", asked.stop_signal(), Signal::Sigquit)
}

async fn concurrent_stops(t: Test) -> Outcome {
    let container = t.pod().await?.script(STUBBORN).await?;
    container.logged("ready").await?;
    try_join_all((0..5).map(|_| container.stop(1))).await?;
    equal("exit code", container.status().await?.exit_code, 137)
}

async fn shorter_stop(t: Test) -> Outcome {
    let container = t.pod().await?.script(STUBBORN).await?;
    container.logged("ready").await?;
    let start = Instant::now();
    let long = container.clone();
    let long = tokio::spawn(async move { long.stop(60).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    container.stop(1).await?;
    long.await.context("the longer stop")??;
    so("both return after about 1.5 s", start.elapsed().as_secs() < 15, start.elapsed())
}

fn pair(key: &str, value: &[u8]) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value.to_vec() }
}

async fn env_bytes(t: Test) -> Outcome {
    let container = t
        .pod()
        .await?
        .start(|c| {
            c.script("printf '%s|' \"$EMPTY\" \"$EQUAL\" \"$SPACED\" \"$WIDE\" \"$TABS\"; echo");
            c.envs.push(pair("EMPTY", b""));
            c.envs.push(pair("EQUAL", b"a=b=c"));
            c.envs.push(pair("SPACED", b" a  $HOME `x` \"y\" \\ "));
            c.envs.push(pair("WIDE", "\u{fc}\u{1F980}\u{200b}".as_bytes()));
            c.envs.push(pair("TABS", b"\t\x01\x7f"));
        })
        .await?;
    let wanted = "|a=b=c| a  $HOME `x` \"y\" \\ |\u{fc}\u{1F980}\u{200b}|\t\u{1}\u{7f}|";
    equal("output", container.output().await?, vec![wanted])
}

async fn env_not_utf8(t: Test) -> Outcome {
    let edit = |c: &mut ContainerConfig| {
        c.script("printf '%s' \"$RAW\"; echo");
        c.envs.push(pair("RAW", b"\xff\xfe\x80a"));
    };
    // An OCI runtime is configured by JSON, which holds no such bytes: a refusal is honest.
    let container = match t.pod().await?.create(edit).await {
        Ok(container) => container,
        Err(error) => return refused("CreateContainer", Err::<(), _>(error)).map(drop),
    };
    container.start().await?;
    container.exited().await?;
    let lines = crate::log::lines(&container.log()?, "stdout");
    equal("output", lines, vec![b"\xff\xfe\x80a".to_vec()])
}

async fn env_override(t: Test) -> Outcome {
    let registry = t.registry().await?;
    let config = json!({ "Env": ["PATH=/bin", "A=image", "B=image"], "Cmd": ["sh"] });
    let image = registry.image("env:1").busybox().await?.config(config).push()?;
    t.pull_for_now(&image).await?;
    let edit = |c: &mut ContainerConfig| {
        c.image = Some(image_spec(&image));
        c.script("echo $A $B $PATH");
        c.envs.push(KeyValue { key: "A".to_owned(), value: b"config".to_vec() });
    };
    let container = t.pod().await?.start(edit).await?;
    equal("A and B", container.output().await?, vec!["config image /bin"])
}

/// Runs an image whose entrypoint prints its arguments and cwd; gives the lines.
async fn run_image(
    t: &Test,
    config: serde_json::Value,
    edit: impl FnOnce(&mut ContainerConfig),
) -> anyhow::Result<Vec<String>> {
    let registry = t.registry().await?;
    let image = registry.image("run:1").busybox().await?.config(config).push()?;
    t.pull_for_now(&image).await?;
    let pod = t.pod().await?;
    let mut container = pod.container_config();
    container.image = Some(image_spec(&image));
    container.command.clear();
    edit(&mut container);
    let container = pod.create_unpulled(container).await?;
    container.start().await?;
    container.output().await
}

fn echo_image() -> serde_json::Value {
    json!({ "Env": ["PATH=/bin"], "Entrypoint": ["echo", "entry"], "Cmd": ["cmd"] })
}

async fn image_defaults(t: Test) -> Outcome {
    equal("output", run_image(&t, echo_image(), |_| ()).await?, vec!["entry cmd"])
}

async fn args(t: Test) -> Outcome {
    let lines = run_image(&t, echo_image(), |c| c.args = strings(&["a b", "c"])).await?;
    equal("output", lines, vec!["entry a b c"])
}

async fn command(t: Test) -> Outcome {
    let lines = run_image(&t, echo_image(), |c| c.command(&["echo", "mine"])).await?;
    equal("output", lines, vec!["mine"])
}

async fn command_and_args(t: Test) -> Outcome {
    let edit = |c: &mut ContainerConfig| {
        c.command(&["echo", "mine"]);
        c.args = strings(&["too"]);
    };
    equal("output", run_image(&t, echo_image(), edit).await?, vec!["mine too"])
}

async fn nothing_to_run(t: Test) -> Outcome {
    let registry = t.registry().await?;
    let image = registry.image("nothing:1").busybox().await?.push()?;
    t.pull_for_now(&image).await?;
    let edit = |c: &mut ContainerConfig| {
        c.image = Some(image_spec(&image));
        c.command.clear();
    };
    let result = t.pod().await?.create(edit).await.map(drop);
    refused("CreateContainer without any command", result).map(drop)
}

fn pwd_image() -> serde_json::Value {
    json!({ "Env": ["PATH=/bin"], "Cmd": ["pwd"], "WorkingDir": "/usr" })
}

async fn image_cwd(t: Test) -> Outcome {
    equal("pwd", run_image(&t, pwd_image(), |_| ()).await?, vec!["/usr"])
}

async fn cwd(t: Test) -> Outcome {
    let lines = run_image(&t, pwd_image(), |c| c.working_dir = "/etc".to_owned()).await?;
    equal("pwd", lines, vec!["/etc"])
}

async fn missing_cwd(t: Test) -> Outcome {
    let edit = |c: &mut ContainerConfig| {
        c.working_dir = "/a/new/place".to_owned();
        c.script("pwd");
    };
    let container = t.pod().await?.start(edit).await?;
    equal("pwd", container.output().await?, vec!["/a/new/place"])
}

async fn root_cwd(t: Test) -> Outcome {
    equal("pwd", t.pod().await?.script("pwd").await?.output().await?, vec!["/"])
}

async fn path(t: Test) -> Outcome {
    let container = t.pod().await?.start(|c| c.command(&["echo", "found"])).await?;
    equal("output", container.output().await?, vec!["found"])
}

async fn tty(t: Test) -> Outcome {
    let edit = |c: &mut ContainerConfig| {
        c.tty = true;
        c.stdin = true;
        c.script("test -t 0 && test -t 1 && test -t 2 && tty; echo TERM=$TERM");
    };
    let lines = t.pod().await?.start(edit).await?.output().await?;
    let lines: Vec<_> = lines.iter().map(|l| l.trim_end_matches('\r')).collect();
    equal("lines", lines.len(), 2)?;
    contains("tty", lines[0], "/dev/")?;
    so("TERM is set", lines[1].len() > "TERM=".len(), lines)
}

async fn own_pids(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let edit = |c: &mut ContainerConfig| c.own_pids();
    pod.start(|c| {
        edit(c);
        c.command(&["sleep", "98765"]);
    })
    .await?;
    let container = pod.start(edit).await?;
    let others = container.sh("ps -o args | grep -c '[9]8765' || true").await?;
    equal("processes of the other container", others, "0")
}
