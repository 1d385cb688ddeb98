// SPDX-License-Identifier: Apache-2.0
//! A client of streaming URLs, over SPDY and over WebSocket. Written apart from any server, so
//! that a mistake is not made on both sides.

mod spdy;
mod websocket;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub use spdy::{Forwarding, upgrade_status};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What carries the streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// SPDY/3.1.
    Spdy,
    /// WebSocket messages.
    WebSocket,
}

/// Which streams a request asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are the fields of the requests")]
pub struct Streams {
    /// Into the process.
    pub stdin: bool,
    /// Out of it.
    pub stdout: bool,
    /// Out of it; none with a terminal.
    pub stderr: bool,
    /// Whether it is a terminal.
    pub tty: bool,
}

/// Something that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Bytes of standard output.
    Stdout(Vec<u8>),
    /// Bytes of standard error.
    Stderr(Vec<u8>),
    /// Bytes of the stream that tells the outcome.
    Error(Vec<u8>),
    /// Nothing more will come.
    End,
}

/// All that a session left.
#[derive(Debug, Default)]
pub struct Finished {
    /// All of standard output.
    pub stdout: Vec<u8>,
    /// All of standard error.
    pub stderr: Vec<u8>,
    /// The Kubernetes Status of the error stream.
    pub status: serde_json::Value,
}

impl Finished {
    /// The exit code that the status tells.
    pub fn code(&self) -> Option<i64> {
        if self.status["status"] == "Success" {
            return Some(0);
        }
        let causes = self.status["details"]["causes"].as_array()?;
        let cause = causes.iter().find(|cause| cause["reason"] == "ExitCode")?;
        cause["message"].as_str()?.parse().ok()
    }
}

/// A client of an exec or an attach.
pub enum Session {
    /// Over SPDY.
    Spdy(spdy::Session),
    /// Over WebSocket.
    WebSocket(Box<websocket::Session>),
}

impl Session {
    /// Connects to `url` and opens the streams.
    pub async fn open(url: &str, transport: Transport, streams: Streams) -> Result<Self> {
        let opened = async {
            Ok(match transport {
                Transport::Spdy => Self::Spdy(spdy::Session::open(url, streams).await?),
                Transport::WebSocket => {
                    Self::WebSocket(Box::new(websocket::Session::open(url).await?))
                }
            })
        };
        timeout(LIMIT, opened).await.with_context(|| format!("{url}: no answer"))?
    }

    /// Sends bytes to standard input.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Spdy(session) => session.send(bytes).await,
            Self::WebSocket(session) => session.send(bytes).await,
        }
    }

    /// Ends standard input.
    pub async fn end_stdin(&mut self) -> Result<()> {
        match self {
            Self::Spdy(session) => session.end_stdin().await,
            Self::WebSocket(session) => session.end_stdin().await,
        }
    }

    /// Tells the terminal's size.
    pub async fn resize(&mut self, width: u16, height: u16) -> Result<()> {
        let size = format!("{{\"Width\":{width},\"Height\":{height}}}\n");
        match self {
            Self::Spdy(session) => session.resize(size.as_bytes()).await,
            Self::WebSocket(session) => session.resize(size.as_bytes()).await,
        }
    }

    /// The next thing that comes.
    pub async fn next(&mut self) -> Result<Event> {
        let next = async {
            match self {
                Self::Spdy(session) => session.next().await,
                Self::WebSocket(session) => session.next().await,
            }
        };
        timeout(LIMIT, next).await.context("nothing came over the stream")?
    }

    /// Reads standard output until it holds `part`; answers with all that was read.
    pub async fn until(&mut self, part: &str) -> Result<String> {
        let mut seen = String::new();
        while !seen.contains(part) {
            match self.next().await.with_context(|| format!("waiting for {part:?} in {seen:?}"))? {
                Event::Stdout(bytes) => seen.push_str(&String::from_utf8_lossy(&bytes)),
                other => bail!("expected {part:?} on stdout, came {other:?} after {seen:?}"),
            }
        }
        Ok(seen)
    }

    /// Reads to the end.
    pub async fn finish(mut self) -> Result<Finished> {
        let mut finished = Finished::default();
        let mut status = Vec::new();
        loop {
            match self.next().await? {
                Event::Stdout(bytes) => finished.stdout.extend(bytes),
                Event::Stderr(bytes) => finished.stderr.extend(bytes),
                Event::Error(bytes) => status.extend(bytes),
                Event::End => break,
            }
        }
        finished.status = serde_json::from_slice(&status)
            .with_context(|| format!("no Status: {:?}", String::from_utf8_lossy(&status)))?;
        Ok(finished)
    }
}

/// Connects to the host and port of `url`; answers with its path too.
async fn dial(url: &str) -> Result<(TcpStream, String, String)> {
    let rest = url.strip_prefix("http://").with_context(|| format!("{url}: not http"))?;
    let (host, path) = rest.split_once('/').with_context(|| format!("{url}: no path"))?;
    let stream = TcpStream::connect(host).await.with_context(|| format!("{url}: no server"))?;
    Ok((stream, host.to_owned(), format!("/{path}")))
}
