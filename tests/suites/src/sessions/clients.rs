// SPDX-License-Identifier: Apache-2.0
//! Clients that do not behave.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use crisp_conformance::stream::{Session, Transport};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};

use super::{
    kubectl::{self, Wire},
    pattern::Pattern,
    process,
    url::{self, BOTH, OUTPUT},
};
use crate::{proc::Memory, stage::Stage};

/// Most that a session's process may have of its own, KiB, whatever its client does.
const MOST: u64 = 6 << 10;
/// How long clients misbehave.
const WHILE: Duration = Duration::from_secs(3);

/// One takes nothing of an endless output, one sends without end what nobody reads.
pub async fn a_client_that_stalls_or_floods_costs_little_and_leaves_nothing(
    stage: &mut Stage,
) -> Result<()> {
    let (pod, container) = stage.pod_with_container().await?;
    for transport in [Transport::Spdy, Transport::WebSocket] {
        let script = ["sh", "-c", "sleep 7654 & exec yes"];
        let url = url::exec(&container, &script, OUTPUT).await?;
        let stalled = Session::open(&url, transport, OUTPUT).await?;
        tokio::time::sleep(WHILE).await;
        bounded(&pod, "a client that stalls", transport).await?;
        drop(stalled);
        process::none(&pod, Duration::from_secs(20)).await?;

        let url = url::exec(&container, &["sleep", "7654"], BOTH).await?;
        let mut flooding = Session::open(&url, transport, BOTH).await?;
        let flood = async {
            loop {
                flooding.send(&[b'x'; 60_000]).await?;
            }
        };
        let ended: Result<Result<()>, _> = timeout(WHILE, flood).await;
        ensure!(ended.is_err(), "a flood was not stopped by its own weight: {ended:?}");
        bounded(&pod, "a client that floods", transport).await?;
        drop(flooding);
        process::none(&pod, Duration::from_secs(20)).await?;
    }
    process::no_exec(stage, &container, 7654).await
}

async fn bounded(
    pod: &crisp_conformance::pod::Pod,
    what: &str,
    transport: Transport,
) -> Result<()> {
    let memory = Memory::of(process::only(pod).await?)?.private_dirty;
    println!("        {what} over {transport:?}: {memory} KiB");
    ensure!(memory <= MOST, "the session of {what} has {memory} KiB, {MOST} are allowed");
    Ok(())
}

/// Amid the request, amid the first frame, amid a stream.
pub async fn a_client_that_breaks_off_leaves_nothing(stage: &mut Stage) -> Result<()> {
    let (pod, container) = stage.pod_with_container().await?;
    for start in ["POST /exec", SPDY_AND_HALF_A_FRAME, WEBSOCKET_AND_HALF_A_FRAME] {
        let url = url::exec(&container, &["sleep", "7654"], OUTPUT).await?;
        let rest = url.strip_prefix("http://").context("not http")?;
        let (host, path) = rest.split_once('/').context("no path")?;
        let mut stream = TcpStream::connect(host).await?;
        let request = start.replace("PATH", &format!("/{path}"));
        let request: Vec<u8> = request.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect();
        stream.write_all(&request).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(stream);
        if start == "POST /exec" {
            // The URL is still good: nobody has come by it.
            let session = Session::open(&url, Transport::Spdy, OUTPUT).await?;
            drop(session);
        }
        process::none(&pod, Duration::from_secs(40)).await?;
    }
    let client = kubectl::Client::of(stage);
    for wire in Wire::BOTH {
        let url = url::exec(&container, &["sh", "-c", "cat; sleep 7654"], BOTH).await?;
        let mut cat = client.run(wire, &url, BOTH).spawn()?;
        let mut to = cat.stdin.take().context("no stdin")?;
        // Nothing of what comes back is read, so that all ways are full.
        let _ = timeout(WHILE, Pattern::new(3).write(&mut to, 0..100_000)).await;
        cat.kill().await?;
        process::none(&pod, Duration::from_secs(20)).await?;
    }
    process::no_exec(stage, &container, 7654).await
}

const SPDY_AND_HALF_A_FRAME: &str = "POST PATH HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
    Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n\
    \u{80}\u{3}\u{0}\u{1}\u{0}\u{0}\u{1}";
const WEBSOCKET_AND_HALF_A_FRAME: &str = "GET PATH HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n\u{82}\u{fe}\u{10}\u{0}\u{1}";
