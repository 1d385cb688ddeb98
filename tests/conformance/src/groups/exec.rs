// SPDX-License-Identifier: Apache-2.0
//! ExecSync.

use std::time::{Duration, Instant};

use anyhow::ensure;
use crisp_cri::*;
use futures::future::try_join_all;
use tonic::Code;

use crate::case::{Outcome, cases};
use crate::edit::EditContainer as _;
use crate::fixture::Test;
use crate::want::{equal, refused, refused_with, so};

cases! { "exec";
    "output comes back" => output,
    "stdout and stderr are kept apart" => streams,
    "a non-zero exit code is an answer, not an error" => exit_code,
    "a command killed by a signal gives 128+n" => signal,
    "the command runs as the container's user, in its directory, with its variables" => context,
    "stdin is empty" => stdin,
    "output is kept byte for byte" => bytes,
    "8 MiB of output come back whole" => large,
    "output beyond the message limit is cut and the command goes on" => capped,
    "a command that does not exist is an error or a shell-like exit code" => missing_command,
    "a timeout is DEADLINE_EXCEEDED" => timeout,
    "a timeout kills the command" => timeout_kills_command,
    "a timeout kills the command's children" => timeout_kills,
    "a command within its timeout succeeds" => within_timeout,
    "a background child that holds stdout does not hang the call" => background_child,
    "an unknown container is NOT_FOUND" => unknown,
    "a container that was not started is refused" => not_started,
    "an exited container is refused" => exited,
    "commands run side by side" => side_by_side,
    "no command is refused" => no_command,
    "a command goes through the pod's PID namespace" => pids,
}

async fn output(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let ran = container.exec(&["echo", "-n", "hello"]).await?;
    equal("ExecSync stdout", ran.stdout, "hello")?;
    equal("ExecSync stderr", ran.stderr, "")?;
    equal("ExecSync exit_code", ran.code, 0)
}

async fn streams(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let ran = container.exec(&["sh", "-c", "echo out; echo err >&2; echo out2"]).await?;
    equal("ExecSync stdout", ran.stdout, "out\nout2\n")?;
    equal("ExecSync stderr", ran.stderr, "err\n")
}

async fn exit_code(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let ran = container.exec(&["sh", "-c", "echo before; echo why >&2; exit 42"]).await?;
    equal("ExecSync exit_code", ran.code, 42)?;
    equal("ExecSync stdout", ran.stdout, "before\n")?;
    equal("ExecSync stderr", ran.stderr, "why\n")
}

async fn signal(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let ran = container.exec(&["sh", "-c", "kill -9 $$"]).await?;
    equal("ExecSync exit_code", ran.code, 128 + 9)
}

async fn context(t: Test) -> Outcome {
    let container = t
        .pod()
        .await?
        .start(|c| {
            c.security().run_as_user = Some(Int64Value { value: 1234 });
            c.working_dir = "/tmp".to_owned();
            c.envs.push(KeyValue { key: "MINE".to_owned(), value: b"a value".to_vec() });
        })
        .await?;
    equal("id, pwd and $MINE", container.sh("id -u; pwd; echo $MINE").await?, "1234\n/tmp\na value")
}

async fn stdin(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    equal("output of cat", container.sh("cat; echo end").await?, "end")
}

async fn bytes(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let response =
        container.exec_raw(&["sh", "-c", "printf 'a\\000b\\377\\r\\n\\n'; printf x"], 0).await?;
    equal("ExecSync stdout", response.stdout, b"a\0b\xff\r\n\nx".to_vec())
}

async fn large(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let script = "dd if=/dev/zero bs=1M count=8 2>/dev/null | tr '\\000' x; echo end";
    let response = container.exec_raw(&["sh", "-c", script], 0).await?;
    let stdout = response.stdout;
    equal("bytes of stdout", stdout.len(), (8 << 20) + 4)?;
    so("the end is there", stdout.ends_with(b"xend\n"), "something else")
}

async fn capped(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let script = "dd if=/dev/zero bs=1M count=40 2>/dev/null; touch /done; exit 5";
    let response = container.exec_raw(&["sh", "-c", script], 0).await?;
    equal("ExecSync exit_code", response.exit_code, 5)?;
    let length = response.stdout.len();
    so("stdout is cut at 16 MiB or below", (1 << 20..=16 << 20).contains(&length), length)?;
    equal("the command ran to its end", container.sh("ls /done").await?, "/done")
}

async fn missing_command(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    // A runtime may tell the failure as an error or as the shell's codes for it.
    match container.exec(&["/no/such/command"]).await {
        Ok(ran) => so("exit code 126, 127 or 255", [126, 127, 255].contains(&ran.code), ran),
        Err(error) => {
            so("the error names the command", format!("{error}").contains("/no/such"), error)
        }
    }
}

async fn timeout(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let start = Instant::now();
    let result = container.exec_raw(&["sleep", "4321"], 1).await;
    refused_with("ExecSync with a timeout of 1 s", result, &[Code::DeadlineExceeded])?;
    let took = start.elapsed();
    let fits = (Duration::from_millis(900)..Duration::from_secs(8)).contains(&took);
    so("the answer comes after about 1 s", fits, took)
}

async fn timeout_kills_command(t: Test) -> Outcome {
    kills_after_timeout(&t, &["sleep", "4321"]).await
}

async fn timeout_kills(t: Test) -> Outcome {
    kills_after_timeout(&t, &["sh", "-c", "sleep 4321 & sleep 4321; true"]).await
}

async fn kills_after_timeout(t: &Test, command: &[&str]) -> Outcome {
    let container = t.pod().await?.start(|c| c.command(&["top", "-d", "3600"])).await?;
    let result = container.exec_raw(command, 1).await;
    refused("ExecSync with a timeout of 1 s", result)?;
    let ran = container.exec(&["pgrep", "sleep"]).await?;
    ensure!(
        ran.stdout.is_empty() && ran.stderr.is_empty(),
        "pgrep sleep after the timeout: expected nothing, came {ran:?}"
    );
    Ok(())
}

async fn within_timeout(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let response = container.exec_raw(&["sh", "-c", "sleep 0.3; echo late"], 20).await?;
    equal("ExecSync stdout", response.stdout, b"late\n".to_vec())
}

async fn background_child(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let start = Instant::now();
    let response = container.exec_raw(&["sh", "-c", "sleep 30 & echo parent"], 10).await?;
    equal("ExecSync stdout", response.stdout, b"parent\n".to_vec())?;
    equal("ExecSync exit_code", response.exit_code, 0)?;
    so("the answer comes within 20 s", start.elapsed().as_secs() < 20, start.elapsed())
}

async fn unknown(t: Test) -> Outcome {
    let request =
        ExecSyncRequest { container_id: "f".repeat(64), cmd: vec!["true".to_owned()], timeout: 0 };
    let result = t.cri().exec_sync(request).await;
    refused_with("ExecSync", result, &[Code::NotFound]).map(drop)
}

async fn not_started(t: Test) -> Outcome {
    let container = t.pod().await?.create(|_| ()).await?;
    refused("ExecSync in a created container", container.exec(&["true"]).await).map(drop)
}

async fn exited(t: Test) -> Outcome {
    let container = t.pod().await?.script("exit 0").await?;
    container.exited().await?;
    refused("ExecSync in an exited container", container.exec(&["true"]).await).map(drop)
}

async fn side_by_side(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let calls = (0..20).map(|number| {
        let container = container.clone();
        async move {
            let came = container.sh(&format!("sleep 0.1; echo {number}")).await?;
            equal("ExecSync stdout", came, number.to_string())
        }
    });
    try_join_all(calls).await.map(drop)
}

async fn no_command(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    refused("ExecSync without a command", container.exec(&[]).await).map(drop)
}

async fn pids(t: Test) -> Outcome {
    let container = t
        .pod()
        .await?
        .start(|c| {
            c.own_pids();
            c.command(&["sleep", "7654"]);
        })
        .await?;
    equal("PID 1", container.sh("tr '\\000' ' ' </proc/1/cmdline").await?.trim(), "sleep 7654")
}
