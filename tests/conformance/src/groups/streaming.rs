// SPDX-License-Identifier: Apache-2.0
//! Exec, Attach and PortForward, each to its end over the wire.

use std::time::Duration;

use anyhow::{Result, anyhow};
use crisp_cri::*;
use tonic::Code;

use crate::case::{Outcome, cases};
use crate::container::Container;
use crate::cri::CallError;
use crate::edit::{EditContainer as _, EditPod as _, strings};
use crate::fixture::Test;
use crate::stream::{Forwarding, Session, Streams, Transport, upgrade_status};
use crate::want::{contains, equal, refused, refused_with, so, within};

cases! { "streaming";
    "exec over SPDY gives output, errors and exit code" => exec_spdy,
    "exec over WebSocket gives output, errors and exit code" => exec_websocket,
    "exec over SPDY carries input to its end and all of it back" => input_spdy,
    "exec over WebSocket carries input to its end and all of it back" => input_websocket,
    "exec over SPDY gives a terminal of the client's size" => terminal_spdy,
    "exec over WebSocket gives a terminal of the client's size" => terminal_websocket,
    "exec of a command that does not exist ends with a failure" => missing_command,
    "a client that goes away over SPDY takes its exec along" => gone_spdy,
    "a client that goes away over WebSocket takes its exec along" => gone_websocket,
    "attachments side by side see the same output" => attach_many,
    "attach over WebSocket reaches a terminal" => attach_terminal,
    "the end of input ends a container with stdin_once" => stdin_once,
    "the end of an attachment does not end a container without stdin_once" => stdin_kept,
    "port-forward reaches a server on IPv4 loopback" => forward_v4,
    "port-forward reaches a server on IPv6 loopback" => forward_v6,
    "port-forward of a pod on the host's network reaches the host" => forward_host,
    "port-forward tells of a port without a server" => forward_refused,
    "requests that contradict themselves are INVALID_ARGUMENT" => contradictions,
    "exec and attach need a running container" => not_running,
    "an unknown token is 404" => token,
}

const OUTPUT: Streams = Streams { stdin: false, stdout: true, stderr: true, tty: false };
const ALL: Streams = Streams { stdin: true, ..OUTPUT };
const TERMINAL: Streams = Streams { stdin: true, stdout: true, stderr: false, tty: true };

impl Container {
    async fn exec_url(&self, command: &[&str], streams: Streams) -> Result<String, CallError> {
        let request = ExecRequest {
            container_id: self.id.clone(),
            cmd: strings(command),
            tty: streams.tty,
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
        };
        Ok(self.pod.test.cri().exec(request).await?.url)
    }

    async fn attach_url(&self, streams: Streams) -> Result<String, CallError> {
        let request = AttachRequest {
            container_id: self.id.clone(),
            tty: streams.tty,
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
        };
        Ok(self.pod.test.cri().attach(request).await?.url)
    }

    async fn stream(
        &self,
        command: &[&str],
        transport: Transport,
        streams: Streams,
    ) -> Result<Session> {
        let url = self.exec_url(command, streams).await?;
        Session::open(&url, transport, streams).await
    }

    async fn attach(&self, transport: Transport, streams: Streams) -> Result<Session> {
        let url = self.attach_url(streams).await?;
        Session::open(&url, transport, streams).await
    }
}

async fn exec_spdy(t: Test) -> Outcome {
    exec(t, Transport::Spdy).await
}

async fn exec_websocket(t: Test) -> Outcome {
    exec(t, Transport::WebSocket).await
}

async fn exec(t: Test, transport: Transport) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let command = ["sh", "-c", "echo out; echo err >&2; exit 42"];
    let finished = container.stream(&command, transport, OUTPUT).await?.finish().await?;
    equal("stdout", finished.stdout.as_slice(), b"out\n")?;
    equal("stderr", finished.stderr.as_slice(), b"err\n")?;
    equal("exit code", finished.code(), Some(42))?;
    equal("reason", finished.status["reason"].as_str(), Some("NonZeroExitCode"))?;
    let finished = container.stream(&["true"], transport, OUTPUT).await?.finish().await?;
    equal("status of success", finished.status["status"].as_str(), Some("Success"))
}

async fn input_spdy(t: Test) -> Outcome {
    input(t, Transport::Spdy).await
}

async fn input_websocket(t: Test) -> Outcome {
    input(t, Transport::WebSocket).await
}

/// More than all pipes and queues on the way hold. The command reads all before it writes, so
/// that a client which sends before it reads does not hang on an honest server.
async fn input(t: Test, transport: Transport) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let command = ["sh", "-c", "cat >/tmp/all; cat /tmp/all; exit 3"];
    let mut session = container.stream(&command, transport, ALL).await?;
    let bytes: Vec<u8> =
        (0..4 << 20).map(|n: u32| n.wrapping_mul(0x9e37_79b1).to_be_bytes()[1]).collect();
    for chunk in bytes.chunks(30_000) {
        session.send(chunk).await?;
    }
    session.end_stdin().await?;
    let finished = session.finish().await?;
    so("all bytes come back unchanged", finished.stdout == bytes, finished.stdout.len())?;
    equal("exit code", finished.code(), Some(3))
}

async fn terminal_spdy(t: Test) -> Outcome {
    terminal(t, Transport::Spdy).await
}

async fn terminal_websocket(t: Test) -> Outcome {
    terminal(t, Transport::WebSocket).await
}

async fn terminal(t: Test, transport: Transport) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let mut session = container.stream(&["sh"], transport, TERMINAL).await?;
    session.resize(101, 37).await?;
    // Sizes and input are streams of their own: which comes first is no one's promise.
    session.send(b"test -t 0 && test -t 1 && echo is-$((40 + 2))\n").await?;
    session.send(b"until stty size 2>/dev/null | grep '^37 10[1]'; do sleep 0.1; done\n").await?;
    contains("output", &session.until("37 101").await?, "is-42")?;
    session.resize(55, 22).await?;
    session.send(b"until stty size | grep '^22 5[5]'; do sleep 0.1; done; exit 7\n").await?;
    session.until("22 55").await?;
    let finished = session.finish().await?;
    equal("exit code", finished.code(), Some(7))
}

async fn missing_command(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let session = container.stream(&["no-such-command"], Transport::Spdy, OUTPUT).await?;
    let finished = session.finish().await?;
    equal("status", finished.status["status"].as_str(), Some("Failure"))?;
    let text = finished.status["message"].as_str().unwrap_or_default();
    so("a failure has a message", !text.is_empty(), &finished.status)
}

async fn gone_spdy(t: Test) -> Outcome {
    client_gone(t, Transport::Spdy).await
}

async fn gone_websocket(t: Test) -> Outcome {
    client_gone(t, Transport::WebSocket).await
}

async fn client_gone(t: Test, transport: Transport) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let script = "sleep 7654 & echo started; sleep 7654; true";
    let mut session = container.stream(&["sh", "-c", script], transport, OUTPUT).await?;
    session.until("started").await?;
    drop(session);
    within(Duration::from_secs(20), "processes of the exec", || async {
        let left = container.sh("ps -o args | grep -c '^sleep 7654' || true").await?;
        Ok(if left == "0" { Ok(()) } else { Err(format!("{left} are left")) })
    })
    .await
}

async fn attach_many(t: Test) -> Outcome {
    let script = "while ! [ -e /go ]; do sleep 0.1; done; echo one; echo two >&2; sleep 1";
    let container = t.pod().await?.script(script).await?;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(container.attach(Transport::Spdy, OUTPUT).await?);
    }
    container.sh("touch /go").await?;
    for session in sessions {
        let finished = session.finish().await?;
        equal("stdout", finished.stdout.as_slice(), b"one\n")?;
        equal("stderr", finished.stderr.as_slice(), b"two\n")?;
        equal("status", finished.status["status"].as_str(), Some("Success"))?;
    }
    Ok(())
}

async fn attach_terminal(t: Test) -> Outcome {
    let container = t
        .pod()
        .await?
        .start(|c| {
            c.command(&["sh"]);
            (c.stdin, c.tty) = (true, true);
        })
        .await?;
    let mut session = container.attach(Transport::WebSocket, TERMINAL).await?;
    session.resize(71, 17).await?;
    session.send(b"echo attached-$((40 + 2))\n").await?;
    session.send(b"until stty size 2>/dev/null | grep '^17 7[1]'; do sleep 0.1; done\n").await?;
    contains("output", &session.until("17 71").await?, "attached-42")
}

async fn stdin_once(t: Test) -> Outcome {
    let container = t
        .pod()
        .await?
        .start(|c| {
            c.script("cat; echo end");
            (c.stdin, c.stdin_once) = (true, true);
        })
        .await?;
    let mut session = container.attach(Transport::Spdy, ALL).await?;
    session.send(b"hello\n").await?;
    session.end_stdin().await?;
    let finished = session.finish().await?;
    equal("stdout", finished.stdout.as_slice(), b"hello\nend\n")?;
    equal("exit_code", container.exited().await?.exit_code, 0)
}

async fn stdin_kept(t: Test) -> Outcome {
    let container = t
        .pod()
        .await?
        .start(|c| {
            c.command(&["cat"]);
            c.stdin = true;
        })
        .await?;
    for word in ["first", "second"] {
        let mut session = container.attach(Transport::Spdy, ALL).await?;
        session.send(format!("{word}\n").as_bytes()).await?;
        session.until(word).await?;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    equal("state", container.status().await?.state(), ContainerState::ContainerRunning)
}

async fn forward_v4(t: Test) -> Outcome {
    forward(t, "127.0.0.1").await
}

async fn forward_v6(t: Test) -> Outcome {
    forward(t, "[::1]").await
}

async fn forward(t: Test, address: &str) -> Outcome {
    let pod = t.pod().await?;
    let script =
        format!("mkdir /www; echo here >/www/file; httpd -h /www -p '{address}:8080'; sleep 3600");
    let container = pod.script(&script).await?;
    within(Duration::from_secs(10), "server in the pod", || async {
        let listening = container.sh("cat /proc/net/tcp /proc/net/tcp6 | grep -c ' 0A '").await;
        let one = listening.as_deref().is_ok_and(|count| count == "1");
        Ok(if one { Ok(()) } else { Err(format!("{listening:?}")) })
    })
    .await?;
    let mut client = Forwarding::open(&forward_url(&t, &pod.id).await?).await?;
    for _ in 0..3 {
        let answer = client.exchange(8080, b"GET /file HTTP/1.0\r\n\r\n").await?;
        let answer = answer.map_err(|complaint| anyhow!("{complaint}"))?;
        contains("answer", &String::from_utf8_lossy(&answer), "\r\n\r\nhere\n")?;
    }
    Ok(())
}

async fn forward_host(t: Test) -> Outcome {
    let pod = t.pod_with(|c| c.namespaces().network = NamespaceMode::Node.into()).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut from, mut to) = stream.split();
            let _ = tokio::io::copy(&mut from, &mut to).await;
        }
    });
    let mut client = Forwarding::open(&forward_url(&t, &pod.id).await?).await?;
    let answer = client.exchange(port, b"to the host").await?;
    equal("answer", answer.as_deref(), Ok(&b"to the host"[..]))
}

async fn forward_refused(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let mut client = Forwarding::open(&forward_url(&t, &pod.id).await?).await?;
    let complaint = client.exchange(9, b"").await?.err().unwrap_or_default();
    contains("error stream", &complaint, "9")
}

async fn forward_url(t: &Test, pod: &str) -> Result<String, CallError> {
    let request = PortForwardRequest { pod_sandbox_id: pod.to_owned(), port: Vec::new() };
    Ok(t.cri().port_forward(request).await?.url)
}

async fn contradictions(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let both = Streams { stderr: true, ..TERMINAL };
    for (what, streams) in [("no stream", Streams::default()), ("tty with stderr", both)] {
        let exec = container.exec_url(&["true"], streams).await;
        refused_with(&format!("Exec with {what}"), exec, &[Code::InvalidArgument])?;
        let attach = container.attach_url(streams).await;
        refused_with(&format!("Attach with {what}"), attach, &[Code::InvalidArgument])?;
    }
    Ok(())
}

async fn not_running(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let created = pod.create(|_| ()).await?;
    refused("Exec in a container that was not started", created.exec_url(&["true"], OUTPUT).await)?;
    refused("Attach to a container that was not started", created.attach_url(OUTPUT).await)?;
    let exited = pod.script("true").await?;
    exited.exited().await?;
    refused("Exec in an exited container", exited.exec_url(&["true"], OUTPUT).await)?;
    refused("Attach to an exited container", exited.attach_url(OUTPUT).await)?;
    pod.stop().await?;
    refused("PortForward of a stopped pod", forward_url(&t, &pod.id).await).map(drop)
}

async fn token(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let url = container.exec_url(&["true"], OUTPUT).await?;
    let (start, last) = url.split_at(url.len() - 1);
    let wrong = format!("{start}{}", if last == "x" { "y" } else { "x" });
    equal("HTTP status of another token", upgrade_status(&wrong).await?, 404)?;
    let session = Session::open(&url, Transport::Spdy, OUTPUT).await?;
    equal("exit code", session.finish().await?.code(), Some(0))
}
