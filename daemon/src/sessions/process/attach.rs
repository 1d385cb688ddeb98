// SPDX-License-Identifier: Apache-2.0
//! Joins a client to the streams of a container, through a socket that the shim opens for it.

use std::{io, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

use super::{
    client::{Client, FromClient, Input, Output, ToClient},
    door::Admitted,
    feed::{Fed, feed},
    io_client,
    outbox::Gone,
    outcome::Outcome,
    say, shim_client,
    wire::Line,
};
use crate::{
    cri::status::chain,
    pods::shim::gone_is_fine,
    sessions::ticket::Attach,
    shims::{AttachStreams, ShimClient, ShimError, TaskRef},
};

/// Bytes read at once.
const CHUNK: usize = 32 << 10;
/// Numbers of the streams in the shim's frames: one byte for the stream, four for the length.
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;

#[derive(Debug, thiserror::Error)]
enum AttachError {
    #[error(transparent)]
    Shim(#[from] ShimError),
    #[error("cannot connect to {path}: {source}")]
    Socket {
        path: String,
        #[source]
        source: io::Error,
    },
}

/// Serves one client until it or the container has gone.
pub(super) async fn serve(
    work: &Attach,
    stall: Duration,
    admitted: Admitted,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let Admitted { wire, line, speech } = admitted;
    // First the container: its output counts from the moment the client was let in.
    let joined = join(work).await;
    let mut client = Client::open(wire, speech, work.wants, work.terminal, stall).await?;
    let outcome = match joined {
        Ok((shim, socket)) => {
            let (from, to) = socket.into_split();
            let inputs = Inputs { work, shim };
            tokio::select! {
                ended = outputs(from, &client.to) => ended.ok().map(|()| Outcome::Exited(0)),
                () = inputs.run(to, client.to.clone(), &mut client.from, &line) => None,
                () = stop => None,
            }
        }
        Err(error) => Some(Outcome::Failed(chain(&error))),
    };
    if let Some(outcome) = outcome {
        client.finish(&outcome).await;
    }
    Ok(())
}

async fn join(work: &Attach) -> Result<(ShimClient, UnixStream), AttachError> {
    let shim = shim_client(&work.shim).await?;
    let wants = work.wants;
    let streams = AttachStreams { stdin: wants.stdin, stdout: wants.stdout, stderr: wants.stderr };
    let path =
        io_client(&work.shim).await?.attach(&work.container, streams, work.shim.call).await?;
    let socket = connect(&path, work.shim.call).await.map_err(|source| {
        let path = path.display().to_string();
        AttachError::Socket { path, source }
    })?;
    Ok((shim, socket))
}

async fn connect(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    timeout(limit, UnixStream::connect(path)).await?
}

/// Carries output until the container has ended.
async fn outputs(from: OwnedReadHalf, to: &ToClient) -> Result<(), Gone> {
    let mut from = BufReader::with_capacity(CHUNK, from);
    let mut buffer = vec![0; CHUNK];
    loop {
        let mut header = [0; 5];
        if from.read_exact(&mut header).await.is_err() {
            break;
        }
        let [stream, length @ ..] = header;
        let output = match stream {
            STDOUT => Output::Stdout,
            STDERR => Output::Stderr,
            other => {
                say(&format!("the shim sent a frame of stream {other}"));
                break;
            }
        };
        let mut left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if left == 0 {
            to.end(output).await?;
        }
        while left > 0 {
            let piece = left.min(buffer.len());
            if from.read_exact(&mut buffer[..piece]).await.is_err() {
                return Ok(());
            }
            to.send(output, &buffer[..piece]).await?;
            left -= piece;
        }
    }
    Ok(())
}

struct Inputs<'a> {
    work: &'a Attach,
    shim: ShimClient,
}

impl Inputs<'_> {
    /// Carries input and sizes until the client has gone.
    async fn run(
        &self,
        mut socket: OwnedWriteHalf,
        to: ToClient,
        from: &mut FromClient,
        line: &Line,
    ) {
        // Output may still come from a container that takes no input any more.
        let mut open = true;
        while let Some(input) = from.next().await {
            match input {
                Input::Stdin(bytes) if open => {
                    let fed = match feed(&mut socket, &header(bytes.len()), to.outbox(), line).await
                    {
                        Fed::All => feed(&mut socket, &bytes, to.outbox(), line).await,
                        other => other,
                    };
                    match fed {
                        Fed::All => {}
                        Fed::Refused => open = false,
                        Fed::ClientGone => return,
                    }
                }
                Input::StdinEnd if open => {
                    open = false;
                    // A frame without bytes ends the stream; whether that ends the container's
                    // input is the shim's to know. Refused, it has ended already.
                    let _ = socket.write_all(&header(0)).await;
                }
                Input::Stdin(_) | Input::StdinEnd => {}
                Input::Resize(size) => {
                    let task = TaskRef::container(&self.work.container);
                    let size = (size.width.into(), size.height.into());
                    let resized = self.shim.resize_pty(task, size, self.work.shim.call).await;
                    if let Err(error) = gone_is_fine(resized) {
                        say(&format!("container {}: {error}", self.work.container));
                    }
                }
            }
        }
    }
}

fn header(length: usize) -> [u8; 5] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [STDIN, a, b, c, d]
}
