// SPDX-License-Identifier: Apache-2.0
//! kubectl's own client, as a process.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use crisp_conformance::{
    container::Container,
    stream::Streams,
    want::{contains, equal, within},
};
use nix::{sys::stat::Mode, unistd::mkfifo};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

use super::{
    process,
    url::{self, ALL, OUTPUT, TERMINAL},
};
use crate::stage::Stage;

/// Longest wait for anything a client does.
const LIMIT: Duration = Duration::from_secs(60);
/// A server that sends back what it gets, on port 8080.
pub const ECHO: &str = "exec nc -ll -p 8080 -e cat";
/// A server of a page on ::1 alone, port 8081.
const PAGE_V6: &str = "mkdir /www; echo here >/www/page; exec httpd -f -h /www -p '[::1]:8081'";
/// Connections at once.
const CONNECTIONS: usize = 60;

/// What carries the streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// SPDY/3.1.
    Spdy,
    /// WebSocket; for ports, SPDY in a tunnel.
    WebSocket,
}

impl Wire {
    /// Each.
    pub const BOTH: [Self; 2] = [Self::Spdy, Self::WebSocket];

    /// The first for SPDY, the second for WebSocket.
    pub fn named<T>(self, spdy: T, websocket: T) -> T {
        match self {
            Self::Spdy => spdy,
            Self::WebSocket => websocket,
        }
    }
}

/// The client's program.
#[derive(Debug, Clone)]
pub struct Client {
    program: PathBuf,
    ca: Option<PathBuf>,
}

impl Client {
    /// The one that the tests have built.
    pub fn of(stage: &Stage) -> Self {
        Self { program: stage.node.parts().plugins.join("kubectl-streams"), ca: None }
    }

    /// The same, trusting the certificates in a file.
    pub fn trusting(self, ca: &Path) -> Self {
        Self { ca: Some(ca.to_owned()), ..self }
    }

    fn command(&self, verb: &str, wire: Wire, url: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args([verb, "-wire", wire.named("spdy", "websocket"), "-url", url]);
        if let Some(ca) = &self.ca {
            command.arg("-ca").arg(ca);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        command
    }

    /// `kubectl exec` and `kubectl attach`.
    pub fn run(&self, wire: Wire, url: &str, streams: Streams) -> Command {
        let mut command = self.command("run", wire, url);
        let flags = [
            ("-stdin", streams.stdin),
            ("-stdout", streams.stdout),
            ("-stderr", streams.stderr),
            ("-tty", streams.tty),
        ];
        command.args(flags.iter().filter(|(_, wanted)| *wanted).map(|(flag, _)| flag));
        command
    }

    /// The same with `input`, to its end.
    pub async fn finish(
        &self,
        wire: Wire,
        url: &str,
        streams: Streams,
        input: &[u8],
    ) -> Result<Output> {
        let mut child = self.run(wire, url, streams).spawn().context("kubectl-streams")?;
        let mut stdin = child.stdin.take().context("no stdin")?;
        stdin.write_all(input).await?;
        drop(stdin);
        Ok(timeout(LIMIT, child.wait_with_output()).await.context("the client hangs")??)
    }
}

/// `kubectl port-forward` that runs.
pub struct Forwarded {
    child: Child,
    /// Local ports, in the order of those asked for.
    pub ports: Vec<u16>,
}

impl Forwarded {
    /// Starts it.
    pub async fn open(client: &Client, wire: Wire, url: &str, ports: &[u16]) -> Result<Self> {
        let mut command = client.command("forward", wire, url);
        command.args(ports.iter().map(u16::to_string)).stderr(Stdio::inherit());
        let mut child = command.spawn().context("kubectl-streams")?;
        let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        let mut local = Vec::new();
        for _ in ports {
            let line =
                timeout(LIMIT, lines.next_line()).await.context("no port is forwarded")??;
            let line = line.context("port-forward ended")?;
            local.push(line.split(' ').next().unwrap_or_default().parse()?);
        }
        Ok(Self { child, ports: local })
    }

    /// Ends it in order.
    pub async fn end(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = timeout(LIMIT, self.child.wait()).await.context("port-forward hangs")??;
        ensure!(status.success(), "port-forward: {status}");
        Ok(())
    }
}

/// Waits until so many servers listen in the container's pod.
pub async fn listens(container: &Container, servers: u32) -> Result<()> {
    within(LIMIT, "server in the pod", || async {
        let seen =
            container.sh("cat /proc/net/tcp /proc/net/tcp6 | grep -c ' 0A ' || true").await?;
        Ok(if seen == servers.to_string() { Ok(()) } else { Err(seen) })
    })
    .await
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Streams apart, input to its end, exit codes, failures; attachments, and the end of one with
/// stdin_once.
pub async fn kubectl_runs_commands_and_attaches(stage: &mut Stage) -> Result<()> {
    let (pod, container) = stage.pod_with_container().await?;
    let client = Client::of(stage);
    for wire in Wire::BOTH {
        let script = ["sh", "-c", "echo out; echo err >&2; cat; exit 42"];
        let url = url::exec(&container, &script, ALL).await?;
        let done = client.finish(wire, &url, ALL, b"from here\n").await?;
        equal("stdout", text(&done.stdout).as_str(), "out\nfrom here\n")?;
        equal("stderr", text(&done.stderr).as_str(), "err\n")?;
        equal("exit code", done.status.code(), Some(42))?;

        let url = url::exec(&container, &["true"], OUTPUT).await?;
        let done = client.finish(wire, &url, OUTPUT, b"").await?;
        equal("exit code of true", done.status.code(), Some(0))?;

        let url = url::exec(&container, &["no-such-command"], OUTPUT).await?;
        let done = client.finish(wire, &url, OUTPUT, b"").await?;
        so_failed(&done)?;
        contains("error", &text(&done.stderr), "no-such-command")?;

        let again = client.finish(wire, &url, OUTPUT, b"").await?;
        equal("exit code for a used URL", again.status.code(), Some(125))?;

        let once = pod
            .start(|c| {
                c.command = ["sh", "-c", "cat; echo end"].map(str::to_owned).to_vec();
                (c.stdin, c.stdin_once) = (true, true);
            })
            .await?;
        let url = url::attach(&once, ALL).await?;
        let done = client.finish(wire, &url, ALL, b"hello\n").await?;
        equal("stdout of the attachment", text(&done.stdout).as_str(), "hello\nend\n")?;
        equal("exit code of the attachment", done.status.code(), Some(0))?;
        equal("exit code of the container", once.exited().await?.exit_code, 0)?;
    }
    process::none(&pod, LIMIT).await
}

fn so_failed(done: &Output) -> Result<()> {
    ensure!(!done.status.success(), "a command that does not exist succeeded: {done:?}");
    Ok(())
}

/// A terminal that changes its size.
pub async fn kubectl_has_a_terminal(stage: &mut Stage) -> Result<()> {
    let (pod, container) = stage.pod_with_container().await?;
    let client = Client::of(stage);
    for (number, wire) in Wire::BOTH.into_iter().enumerate() {
        let sizes = stage.test.dir().join(format!("sizes{number}"));
        mkfifo(&sizes, Mode::from_bits_truncate(0o600))?;
        let url = url::exec(&container, &["sh"], TERMINAL).await?;
        let mut shell = client.run(wire, &url, TERMINAL).arg("-sizes").arg(&sizes).spawn()?;
        let mut to = shell.stdin.take().context("no stdin")?;
        let mut from = shell.stdout.take().context("no stdout")?;
        let mut size = tokio::fs::OpenOptions::new().write(true).open(&sizes).await?;
        for (width, height) in [(101, 37), (55, 22)] {
            size.write_all(format!("{width} {height}\n").as_bytes()).await?;
            size.flush().await?;
            let wanted = format!("{height} {width}");
            // The size goes its own way: asked again until it is there.
            let mut seen = String::new();
            let asking = async {
                loop {
                    to.write_all(b"stty size\n").await?;
                    let mut some = [0; 4096];
                    let n = from.read(&mut some).await?;
                    ensure!(n > 0, "the terminal ended after {seen:?}");
                    seen.push_str(&text(&some[..n]));
                    if seen.contains(&wanted) {
                        return Ok(());
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            timeout(LIMIT, asking).await.with_context(|| format!("no size {wanted}"))??;
        }
        to.write_all(b"test -t 0 && test -t 1 && exit 7\n").await?;
        let mut rest = Vec::new();
        timeout(LIMIT, from.read_to_end(&mut rest)).await.context("the terminal hangs")??;
        let status = timeout(LIMIT, shell.wait()).await.context("the terminal hangs")??;
        equal("exit code", status.code(), Some(7))?;
    }
    process::none(&pod, LIMIT).await
}

/// Over one session, all open at the same time, to servers on both loopback addresses; a port
/// without a server hurts no other.
pub async fn kubectl_forwards_many_connections(stage: &mut Stage) -> Result<()> {
    let pod = stage.test.pod().await?;
    for (script, servers) in [(ECHO, 1), (PAGE_V6, 2)] {
        listens(&pod.script(script).await?, servers).await?;
    }
    let client = Client::of(stage);
    for wire in Wire::BOTH {
        let url = url::forward(&pod).await?;
        let forwarded = Forwarded::open(&client, wire, &url, &[8080, 8081]).await?;
        let mut open = Vec::new();
        for number in 0..CONNECTIONS {
            let port = forwarded.ports[number % 2];
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
            if number % 2 == 0 {
                // That it answers shows that the server has taken it: few may wait for that.
                let word = format!("connection {number}\n");
                stream.write_all(word.as_bytes()).await?;
                let mut back = vec![0; word.len()];
                let read = timeout(LIMIT, stream.read_exact(&mut back)).await;
                read.with_context(|| format!("connection {number} over {wire:?} hangs"))??;
                equal("what comes back", text(&back), word)?;
            }
            open.push(stream);
        }
        for (number, mut stream) in open.into_iter().enumerate() {
            let mut back = String::new();
            match number % 2 {
                0 => stream.shutdown().await?,
                _ => stream.write_all(b"GET /page HTTP/1.0\r\n\r\n").await?,
            }
            timeout(LIMIT, stream.read_to_string(&mut back))
                .await
                .with_context(|| format!("connection {number} over {wire:?} hangs"))??;
            match number % 2 {
                0 => equal("what comes after the end", back.as_str(), "")?,
                _ => contains("page", &back, "\r\n\r\nhere\n")?,
            }
        }
        forwarded.end().await?;
    }
    process::none(&pod, LIMIT).await
}
