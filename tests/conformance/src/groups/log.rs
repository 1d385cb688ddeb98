// SPDX-License-Identifier: Apache-2.0
//! Container logs: the format, completeness, reopening.

use std::time::Duration;

use anyhow::{Context as _, Result};
use crisp_cri::*;

use crate::case::{Outcome, cases};
use crate::container::Container;
use crate::edit::EditContainer as _;
use crate::fixture::Test;
use crate::log::{lines, text};
use crate::want::{equal, refused, so, within};

cases! { "log";
    "stdout and stderr are logged in the CRI format" => format,
    "the log is complete when the container is EXITED" => complete,
    "timestamps do not go backwards" => timestamps,
    "an empty line is a record with empty content" => empty_line,
    "a last line without a newline is logged" => no_newline,
    "a long line is cut into pieces that join again" => long_line,
    "bytes that are not text are kept" => bytes,
    "a terminal's output is tagged stdout" => tty,
    "100000 lines are all there and in order" => many_lines,
    "two streams keep their own order" => two_streams,
    "a container that logs nothing has an empty log" => nothing,
    "after reopening a new file is written and the old one no longer" => reopen,
    "reopening loses and splits no line" => reopen_under_load,
    "reopening the log of an exited container makes no new file" => reopen_exited,
    "reopening the log of an unknown container is an error" => reopen_unknown,
    "the log file survives the container" => survives,
    "a log path may have directories" => subdirectory,
}

async fn format(t: Test) -> Outcome {
    let container = t.pod().await?.script("echo hello; echo oops >&2").await?;
    container.exited().await?;
    let records = container.log()?;
    equal("stdout in the log", text(&records, "stdout"), vec!["hello"])?;
    equal("stderr in the log", text(&records, "stderr"), vec!["oops"])?;
    so("all records are full lines", records.iter().all(|r| r.full), records)
}

async fn complete(t: Test) -> Outcome {
    let pod = t.pod().await?;
    for _ in 0..5 {
        let container = pod.script("seq 1 20000; echo end").await?;
        let output = container.output().await?;
        equal("lines", output.len(), 20001)?;
        equal("the last line", output.last().map(String::as_str), Some("end"))?;
        container.remove().await?;
    }
    Ok(())
}

async fn timestamps(t: Test) -> Outcome {
    let container = t.pod().await?.script("seq 1 5; sleep 0.1; seq 1 5").await?;
    container.exited().await?;
    let times: Vec<_> = container.log()?.into_iter().map(|r| seconds(&r.time)).collect();
    equal("records", times.len(), 10)?;
    so("times in order", times.is_sorted(), times)
}

/// The part of a timestamp that changes within a test: seconds of the minute, plus minutes, which
/// may wrap only at the hour.
fn seconds(time: &str) -> String {
    let (date, zone) = time.split_at(19);
    let fraction = zone.trim_start_matches('.');
    let digits: String = fraction.chars().take_while(char::is_ascii_digit).collect();
    format!("{date}.{digits:0<9}")
}

async fn empty_line(t: Test) -> Outcome {
    let container = t.pod().await?.script("echo; echo a; echo; echo").await?;
    equal("lines", container.output().await?, vec!["", "a", "", ""])
}

async fn no_newline(t: Test) -> Outcome {
    let container = t.pod().await?.script("echo first; printf last").await?;
    equal("lines", container.output().await?, vec!["first", "last"])
}

async fn long_line(t: Test) -> Outcome {
    let script = "head -c 100000 /dev/zero | tr '\\000' x; echo; echo short";
    let container = t.pod().await?.script(script).await?;
    container.exited().await?;
    let records = container.log()?;
    so("several records", records.len() > 2, records.len())?;
    let longest = records.iter().map(|r| r.content.len()).max().unwrap_or_default();
    so("no record above 32 KiB", longest <= 32 << 10, longest)?;
    let lines = text(&records, "stdout");
    equal("lines", lines.len(), 2)?;
    equal("the long line", &lines[0], &"x".repeat(100_000))?;
    equal("the short line", &lines[1], "short")
}

async fn bytes(t: Test) -> Outcome {
    let container = t.pod().await?.script("printf 'a\\000b\\377\\r \\t\\n'").await?;
    container.exited().await?;
    equal("lines", lines(&container.log()?, "stdout"), vec![b"a\0b\xff\r \t".to_vec()])
}

async fn tty(t: Test) -> Outcome {
    let container = t
        .pod()
        .await?
        .start(|c| {
            c.tty = true;
            c.script("test -t 1 && echo terminal; echo err >&2");
        })
        .await?;
    container.exited().await?;
    let records = container.log()?;
    so("no record is tagged stderr", records.iter().all(|r| r.stream == "stdout"), &records)?;
    let lines: Vec<_> =
        text(&records, "stdout").iter().map(|l| l.trim_end_matches('\r').to_owned()).collect();
    equal("lines", lines, vec!["terminal", "err"])
}

async fn many_lines(t: Test) -> Outcome {
    let container = t.pod().await?.script("seq 1 100000").await?;
    container.exited_within(Duration::from_secs(60)).await?;
    check_sequence(&container.out()?, 100_000)
}

/// `lines` must be the numbers from 1 to `last`.
fn check_sequence(lines: &[String], last: usize) -> Outcome {
    for (line, number) in lines.iter().zip(1..) {
        equal("a line", line.as_str(), number.to_string().as_str())?;
    }
    equal("lines", lines.len(), last)
}

async fn two_streams(t: Test) -> Outcome {
    let script = "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo $i; echo $i >&2; done";
    let container = t.pod().await?.script(script).await?;
    container.exited().await?;
    let records = container.log()?;
    check_sequence(&text(&records, "stdout"), 2000)?;
    check_sequence(&text(&records, "stderr"), 2000)
}

async fn nothing(t: Test) -> Outcome {
    let container = t.pod().await?.script("true").await?;
    equal("lines", container.output().await?, Vec::<String>::new())
}

/// Moves the log of a running container away and has it reopened; gives the old file's path.
async fn rotate(container: &Container) -> Result<std::path::PathBuf> {
    let path = container.log_file().context("no log path")?;
    let old = path.with_extension(format!(
        "{}.old",
        std::fs::read_dir(path.parent().context("no parent")?)?.count()
    ));
    std::fs::rename(&path, &old)?;
    container.reopen_log().await?;
    so("the new log exists when ReopenContainerLog returns", path.exists(), &path)?;
    Ok(old)
}

async fn reopen(t: Test) -> Outcome {
    let script = "while :; do echo hello; sleep 0.05; done";
    let container = t.pod().await?.script(script).await?;
    container.logged("hello").await?;
    let old = rotate(&container).await?;
    let length = std::fs::metadata(&old)?.len();
    container.logged("hello").await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    equal("bytes of the old log, 3 s later", std::fs::metadata(&old)?.len(), length)
}

async fn reopen_under_load(t: Test) -> Outcome {
    let script = "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); echo $i; done; echo end; sleep 3600";
    let container = t.pod().await?.script(script).await?;
    let mut files = Vec::new();
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(40)).await;
        files.push(rotate(&container).await?);
    }
    files.push(container.log_file().context("no log path")?);
    // A fast container has ended its count before the last rotation.
    let mut all = within(Duration::from_secs(20), "the last line is in a log", || async {
        let mut all = Vec::new();
        for file in &files {
            let bytes = std::fs::read(file)?;
            let records = crate::log::parse(&bytes).with_context(|| format!("{file:?}"))?;
            all.extend(text(&records, "stdout"));
        }
        let last = all.last().cloned().unwrap_or_default();
        Ok(if last == "end" { Ok(all) } else { Err(last) })
    })
    .await?;
    all.pop();
    check_sequence(&all, 30000)
}

async fn reopen_exited(t: Test) -> Outcome {
    let container = t.pod().await?.script("echo hello").await?;
    container.exited().await?;
    let path = container.log_file().context("no log path")?;
    std::fs::rename(&path, path.with_extension("old"))?;
    match container.reopen_log().await {
        Ok(()) => Ok(()),
        Err(_) => so("on an error no new file is made", !path.exists(), &path),
    }
}

async fn reopen_unknown(t: Test) -> Outcome {
    let request = ReopenContainerLogRequest { container_id: "f".repeat(64) };
    refused("ReopenContainerLog", t.cri().reopen_container_log(request).await).map(drop)
}

async fn survives(t: Test) -> Outcome {
    let container = t.pod().await?.script("echo hello").await?;
    container.exited().await?;
    container.remove().await?;
    container.pod.remove().await?;
    equal("lines after removal", container.out()?, vec!["hello"])
}

async fn subdirectory(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let directory = std::path::Path::new(&pod.config.log_directory).join("name");
    std::fs::create_dir(directory)?;
    let container = pod
        .start(|c| {
            c.log_path = "name/0.log".to_owned();
            c.script("echo hello");
        })
        .await?;
    within(Duration::from_secs(10), "the log has the line", || async {
        let output = container.out().unwrap_or_default();
        Ok(if output == ["hello"] { Ok(()) } else { Err(format!("{output:?}")) })
    })
    .await
}
