// SPDX-License-Identifier: Apache-2.0
//! Several attachments to one container.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use crisp_conformance::{
    edit::EditContainer as _,
    stream::{Event, Session, Transport},
    want::{equal, so},
};
use nix::sys::signal::Signal;
use tokio::io::AsyncReadExt as _;

use super::{
    kubectl::{Client, Wire},
    process,
    url::{self, OUTPUT},
};
use crate::{proc, stage::Stage};

/// Lines that the container writes, of 32 KiB each: more than all queues on the way of a client
/// that has stopped reading hold.
const LINES: usize = 400;
const LINE: usize = 32 << 10;

/// One client is stopped. The container and the others go on, and miss nothing; it may miss what
/// it did not take.
pub async fn a_slow_attachment_slows_nobody_down(stage: &mut Stage) -> Result<()> {
    let pod = stage.test.pod().await?;
    let script = format!(
        "while ! [ -e /go ]; do sleep 0.1; done; \
         line=$(dd if=/dev/zero bs={} count=1 2>/dev/null | tr '\\000' x); n=0; \
         while [ $n -lt {LINES} ]; do printf '%06d %s\\n' $n $line; n=$((n + 1)); \
         [ $((n % 4)) = 0 ] && usleep 60000; done",
        LINE - 8
    );
    let container = pod.start(|c| c.script(&script)).await?;
    let client = Client::of(stage);
    let slow_url = url::attach(&container, OUTPUT).await?;
    let mut slow = client.run(Wire::Spdy, &slow_url, OUTPUT).spawn()?;
    let slow_session = process::only(&pod).await?;
    // From when its process has seen the client, the URL is taken.
    crisp_conformance::want::within(Duration::from_secs(20), "the slow client", || async {
        let joined = proc::open_files(slow_session)? > 8;
        Ok(if joined { Ok(()) } else { Err("not joined".to_owned()) })
    })
    .await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    proc::signal(slow.id().context("it ended")?, Signal::SIGSTOP)?;
    let mut readers = Vec::new();
    for transport in [Transport::Spdy, Transport::WebSocket, Transport::Spdy] {
        let url = url::attach(&container, OUTPUT).await?;
        let session = Session::open(&url, transport, OUTPUT).await?;
        readers.push(tokio::spawn(read(session)));
    }
    container.sh("touch /go").await?;
    let ended = container.exited_within(Duration::from_secs(60)).await?;
    equal("exit code of the container", ended.exit_code, 0)?;
    let took = Duration::from_nanos(u64::try_from(ended.finished_at - ended.started_at)?);
    println!("        {LINES} lines of {LINE} bytes in {took:.1?}, one client stopped");
    for reader in readers {
        let out = reader.await??;
        equal("bytes that a client got", out.len(), LINES * LINE)?;
        for (number, line) in out.chunks(LINE).enumerate() {
            let start = format!("{number:06} ");
            ensure!(line.starts_with(start.as_bytes()), "line {number} is not there");
        }
    }
    proc::signal(slow.id().context("it ended")?, Signal::SIGCONT)?;
    let mut got = Vec::new();
    let mut out = slow.stdout.take().context("no stdout")?;
    tokio::time::timeout(Duration::from_secs(30), out.read_to_end(&mut got)).await??;
    so("a slow client ends too, with a part", got.len() <= LINES * LINE, got.len())?;
    println!("        the stopped client got {} of {} bytes", got.len(), LINES * LINE);
    ensure!(slow.wait().await?.success(), "the slow client failed");
    process::none(&pod, Duration::from_secs(20)).await
}

/// Standard output to its end.
async fn read(mut session: Session) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        match session.next().await? {
            Event::Stdout(bytes) => out.extend(bytes),
            Event::End => return Ok(out),
            Event::Stderr(_) | Event::Error(_) => {}
        }
    }
}
