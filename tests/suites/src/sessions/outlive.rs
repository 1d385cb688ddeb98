// SPDX-License-Identifier: Apache-2.0
//! The daemon dies; sessions do not notice.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use crisp_conformance::{
    container::Container,
    pod::Pod,
    stream::{Session, Transport},
    want::{contains, equal},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Command,
    sync::{mpsc, watch},
};

use super::{
    kubectl::{self, ECHO, Forwarded, Wire},
    pattern::{BLOCK, Pattern},
    process,
    url::{self, ALL, BOTH, TERMINAL},
};
use crate::stage::Stage;

/// Bytes of each stream: 100 MB.
const BLOCKS: u64 = 100_000_000 / BLOCK as u64 + 1;

/// What tells the streams and the restart of each other.
#[derive(Clone)]
struct Cue {
    half: mpsc::Sender<&'static str>,
    restarted: watch::Receiver<bool>,
}

impl Cue {
    /// Writes all blocks; tells of the half, and keeps the last quarter until the restart is over.
    async fn write(
        mut self,
        what: &'static str,
        mut to: impl tokio::io::AsyncWrite + Unpin,
    ) -> Result<()> {
        let mut pattern = Pattern::new(7);
        let written = async {
            pattern.write(&mut to, 0..BLOCKS / 2).await?;
            self.half.send(what).await?;
            pattern.write(&mut to, BLOCKS / 2..BLOCKS / 4 * 3).await?;
            self.restarted.wait_for(|over| *over).await?;
            pattern.write(&mut to, BLOCKS / 4 * 3..BLOCKS).await?;
            to.shutdown().await.map_err(anyhow::Error::from)
        };
        written.await.with_context(|| format!("{what}: input"))
    }
}

/// In each wire, at the same time: a terminal, a command and a forwarded port that send 100 MB
/// back, an attachment whose container sums 100 MB up. Amid all of that two new daemons.
pub async fn sessions_go_on_without_the_daemon_and_lose_no_byte(stage: &mut Stage) -> Result<()> {
    let (pod, container) = stage.pod_with_container().await?;
    let server = pod.script(ECHO).await?;
    kubectl::listens(&server, 1).await?;
    let mut terminals = Vec::new();
    for transport in [Transport::Spdy, Transport::WebSocket] {
        let url = url::exec(&container, &["sh"], TERMINAL).await?;
        let mut terminal = Session::open(&url, transport, TERMINAL).await?;
        terminal.send(b"echo first-$((40 + 2))\n").await?;
        terminal.until("first-42").await?;
        terminals.push(terminal);
    }

    let (half, mut halves) = mpsc::channel(8);
    let (over, restarted) = watch::channel(false);
    let cue = Cue { half, restarted };
    let mut streams = tokio::task::JoinSet::new();
    for wire in Wire::BOTH {
        streams.spawn(execs(stage_client(stage), container.clone(), wire, cue.clone()));
        streams.spawn(attaches(stage_client(stage), pod.clone(), wire, cue.clone()));
        streams.spawn(forwards(stage_client(stage), pod.clone(), wire, cue.clone()));
    }
    drop(cue);
    for _ in 0..streams.len() {
        let next = tokio::time::timeout(Duration::from_secs(120), halves.recv());
        if next.await.context("a stream does not get to its half")?.is_none() {
            break;
        }
    }
    stage.node.again().await?;
    stage.node.again().await?;
    over.send_replace(true);
    for mut terminal in terminals {
        terminal.resize(61, 19).await?;
        terminal.send(b"echo second-$((40 + 2)); stty size; exit 9\n").await?;
        contains("terminal", &terminal.until("19 61").await?, "second-42")?;
        equal("exit code", terminal.finish().await?.code(), Some(9))?;
    }
    while let Some(stream) = streams.join_next().await {
        stream??;
    }
    process::none(&pod, Duration::from_secs(30)).await?;
    process::no_exec(stage, &container, 7654).await
}

fn stage_client(stage: &Stage) -> kubectl::Client {
    kubectl::Client::of(stage)
}

async fn execs(client: kubectl::Client, container: Container, wire: Wire, cue: Cue) -> Result<()> {
    let what = wire.named("exec over SPDY", "exec over WebSocket");
    let url = url::exec(&container, &["cat"], BOTH).await?;
    let mut cat = client.run(wire, &url, BOTH).spawn()?;
    let (to, mut from) =
        (cat.stdin.take().context("no stdin")?, cat.stdout.take().context("no stdout")?);
    let mut pattern = Pattern::new(7);
    let back = pattern.read(&mut from, BLOCKS);
    let (written, read) = tokio::join!(cue.write(what, to), back);
    written?;
    read.with_context(|| format!("{what}: output"))?;
    ensure!(cat.wait().await?.success(), "{what}: it failed");
    Ok(())
}

async fn attaches(client: kubectl::Client, pod: Pod, wire: Wire, cue: Cue) -> Result<()> {
    let what = wire.named("attach over SPDY", "attach over WebSocket");
    let container = pod
        .start(|c| {
            c.command = ["sha256sum".to_owned()].to_vec();
            (c.stdin, c.stdin_once) = (true, true);
        })
        .await?;
    let url = url::attach(&container, ALL).await?;
    let mut sum = client.run(wire, &url, ALL).spawn()?;
    let (to, mut from) =
        (sum.stdin.take().context("no stdin")?, sum.stdout.take().context("no stdout")?);
    let mut told = String::new();
    let (written, read) = tokio::join!(cue.write(what, to), from.read_to_string(&mut told));
    written?;
    read?;
    let wanted = sum_here().await?;
    equal(what, told.split(' ').next().unwrap_or_default(), wanted.as_str())?;
    ensure!(sum.wait().await?.success(), "{what}: it failed");
    Ok(())
}

/// The checksum of the whole pattern.
async fn sum_here() -> Result<String> {
    use std::process::Stdio;
    let mut sum = Command::new("sha256sum");
    let mut sum = sum.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut to = sum.stdin.take().context("no stdin")?;
    Pattern::new(7).write(&mut to, 0..BLOCKS).await?;
    drop(to);
    let told = String::from_utf8(sum.wait_with_output().await?.stdout)?;
    Ok(told.split(' ').next().unwrap_or_default().to_owned())
}

async fn forwards(client: kubectl::Client, pod: Pod, wire: Wire, cue: Cue) -> Result<()> {
    let what = wire.named("port-forward over SPDY", "port-forward over WebSocket");
    let forwarded = Forwarded::open(&client, wire, &url::forward(&pod).await?, &[8080]).await?;
    let stream = TcpStream::connect(("127.0.0.1", forwarded.ports[0])).await?;
    let (mut from, to) = stream.into_split();
    let mut pattern = Pattern::new(7);
    let back = pattern.read(&mut from, BLOCKS);
    let (written, read) = tokio::join!(cue.write(what, to), back);
    written?;
    read.with_context(|| format!("{what}: output"))?;
    forwarded.end().await
}

/// Whatever is done to the daemon's unit or its limits is not done to them.
pub async fn sessions_are_in_the_cgroup_of_their_pod(stage: &mut Stage) -> Result<()> {
    let (pod, container) = stage.pod_with_container().await?;
    let exec = url::exec(&container, &["cat"], BOTH).await?;
    let attach = url::attach(&container, BOTH).await?;
    let forward = url::forward(&pod).await?;
    let client = stage_client(stage);
    let joined = [
        client.run(Wire::Spdy, &exec, BOTH).spawn()?,
        client.run(Wire::Spdy, &attach, BOTH).spawn()?,
    ];
    let forwarded = Forwarded::open(&client, Wire::WebSocket, &forward, &[8080]).await?;
    let sessions = process::of(&pod);
    equal("sessions in the pod's cgroup", sessions.len(), 3)?;
    for pid in sessions {
        process::in_cgroup_of(pid, &pod)?;
    }
    // A stop of the pod is their end.
    pod.stop().await?;
    process::none(&pod, Duration::from_secs(10)).await?;
    drop((joined, forwarded));
    Ok(())
}
