// SPDX-License-Identifier: Apache-2.0
//! The little HTTP that a kubelet's read-only port needs.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Longest wait for an answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// The body of what is at `http://127.0.0.1:PORT/PATH`.
pub async fn get(port: u16, path: &str) -> Result<String> {
    let asked = timeout(DEADLINE, ask(port, path)).await;
    asked.with_context(|| format!("port {port} does not answer within {DEADLINE:?}"))?
}

async fn ask(port: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    // HTTP/1.0: the answer ends with the connection and comes in one piece.
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(status.contains(" 200 "), "{path} on port {port}: {status}: {body}");
    Ok(body.to_owned())
}
