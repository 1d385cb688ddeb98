// SPDX-License-Identifier: Apache-2.0
//! Runs a process in a container for a client.

use std::{io, time::Duration};

use bytes::BytesMut;
use tokio::{
    net::unix::pipe::{Receiver, Sender},
    sync::watch,
    time::timeout,
};

use super::{
    client::{Client, FromClient, Input, Output, ToClient},
    door::Admitted,
    feed::{Fed, feed},
    outbox::Gone,
    outcome::Outcome,
    pipes::{PipeError, Pipes},
    say, shim_client,
    wire::Line,
};
use crate::{
    cri::status::chain,
    pods::shim::gone_is_fine,
    sessions::ticket::Exec,
    shims::{ExecTask, KillScope, ShimClient, ShimError, TaskRef},
};

/// Bytes read at once.
const CHUNK: usize = 32 << 10;
/// How long a stream may be silent after the exit before it counts as done: a child in the
/// background may hold it open for ever.
const SILENCE: Duration = Duration::from_secs(1);
/// Most bytes taken from a stream after the exit: more than a pipe holds was written later.
const LEFT_OVER: usize = 1 << 20;
const KILL: u32 = libc::SIGKILL.unsigned_abs();

#[derive(Debug, thiserror::Error)]
enum ExecError {
    #[error(transparent)]
    Pipe(#[from] PipeError),
    #[error(transparent)]
    Shim(#[from] ShimError),
    #[error("cannot write the process: {0}")]
    Process(#[from] serde_json::Error),
}

/// Serves one client to the end of its process, or the process to the end of its client.
///
/// # Errors
/// The client's, and an exec that the shim could not be made to forget: the daemon then tries.
pub(super) async fn serve(
    work: &Exec,
    stall: Duration,
    admitted: Admitted,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let Admitted { wire, line, speech } = admitted;
    let mut client = Client::open(wire, speech, work.wants, work.terminal, stall).await?;
    let (outcome, left) = match shim_client(&work.shim).await {
        Ok(shim) => Running { work, shim }.run(&mut client, &line, stop).await,
        Err(error) => (Some(Outcome::Failed(chain(&error))), None),
    };
    if let Some(outcome) = outcome {
        client.finish(&outcome).await;
    }
    left.map_or(Ok(()), |error| {
        let text = format!("exec in container {} is not deleted: {error}", work.container);
        Err(io::Error::other(text))
    })
}

struct Running<'a> {
    work: &'a Exec,
    shim: ShimClient,
}

impl Running<'_> {
    /// What to tell the client, unless it has gone; and why the shim still keeps the exec, if so.
    async fn run(
        &self,
        client: &mut Client,
        line: &Line,
        stop: impl Future<Output = ()>,
    ) -> (Option<Outcome>, Option<ShimError>) {
        let done = match self.start().await {
            Ok(pipes) => self.carry(pipes, client, line, stop).await,
            Err(error) => Some(Outcome::Failed(chain(&error))),
        };
        // Every exec needs its own delete, or the shim keeps it.
        let deleted = self.shim.delete(self.task(), self.work.shim.runtime).await.map(drop);
        (done, gone_is_fine(deleted).err())
    }

    fn task(&self) -> TaskRef<'_> {
        TaskRef::exec(&self.work.container, &self.work.exec)
    }

    async fn start(&self) -> Result<Pipes, ExecError> {
        let work = self.work;
        let pipes = Pipes::make(&work.bundle, work.exec.as_str(), work.wants)?;
        let exec = ExecTask {
            task: self.task(),
            stdio: pipes.addresses(work.terminal),
            process_json: serde_json::to_vec(&work.process)?,
        };
        self.shim.exec(exec, work.shim.runtime).await?;
        self.shim.start(self.task(), work.shim.runtime).await?;
        Ok(pipes)
    }

    async fn carry(
        &self,
        mut pipes: Pipes,
        client: &mut Client,
        line: &Line,
        stop: impl Future<Output = ()>,
    ) -> Option<Outcome> {
        // Open until all is over: closed before the kill, they could end the process and leave
        // what it has started.
        let outputs = (pipes.stdout.take(), pipes.stderr.take());
        let stdin = pipes.open_stdin();
        tokio::select! {
            done = self.outputs(&outputs, &client.to) => {
                if let Ok(outcome) = done {
                    return Some(outcome);
                }
            }
            () = self.inputs(stdin, client.to.clone(), &mut client.from, line) => {}
            () = stop => {}
        }
        self.kill().await;
        None
    }

    async fn kill(&self) {
        let limit = self.work.shim.call;
        let killed = self.shim.kill(self.task(), KILL, KillScope::Container, limit).await;
        if let Err(error) = gone_is_fine(killed) {
            say(&format!("exec in container {} is not killed: {error}", self.work.container));
        }
        // Its end is told soon after the kill; its delete would be refused before.
        let _ = timeout(self.work.shim.kill, self.shim.wait(self.task())).await;
    }

    /// Carries all output, and waits for the exit.
    async fn outputs(
        &self,
        (stdout, stderr): &(Option<Receiver>, Option<Receiver>),
        to: &ToClient,
    ) -> Result<Outcome, Gone> {
        let (tell, exited) = watch::channel(false);
        let end = async {
            let end = self.shim.wait(self.task()).await;
            tell.send_replace(true);
            Ok(match end {
                Ok(exit) => Outcome::Exited(exit.status),
                Err(error) => Outcome::Failed(chain(&error)),
            })
        };
        let (outcome, (), ()) = tokio::try_join!(
            end,
            copy(stdout.as_ref(), Output::Stdout, to, exited.clone()),
            copy(stderr.as_ref(), Output::Stderr, to, exited)
        )?;
        Ok(outcome)
    }

    /// Carries input and sizes until the client has gone.
    async fn inputs(
        &self,
        mut stdin: Option<Sender>,
        to: ToClient,
        from: &mut FromClient,
        line: &Line,
    ) {
        while let Some(input) = from.next().await {
            let told = match input {
                Input::Stdin(bytes) => match &mut stdin {
                    None => Ok(()),
                    Some(pipe) => match feed(pipe, &bytes, to.outbox(), line).await {
                        Fed::All => Ok(()),
                        Fed::Refused => {
                            stdin = None;
                            Ok(())
                        }
                        Fed::ClientGone => return,
                    },
                },
                Input::StdinEnd => {
                    stdin = None;
                    self.shim.close_stdin(self.task(), self.work.shim.call).await
                }
                Input::Resize(size) => {
                    let size = (size.width.into(), size.height.into());
                    self.shim.resize_pty(self.task(), size, self.work.shim.call).await
                }
            };
            // A process that ends meanwhile is no news here.
            if let Err(error) = gone_is_fine(told) {
                say(&format!("exec in container {}: {error}", self.work.container));
            }
        }
    }
}

/// Carries one stream until it ends; after the exit, until no more comes.
async fn copy(
    from: Option<&Receiver>,
    output: Output,
    to: &ToClient,
    mut exited: watch::Receiver<bool>,
) -> Result<(), Gone> {
    let Some(from) = from else { return Ok(()) };
    let mut buffer = BytesMut::new();
    let mut left = LEFT_OVER;
    loop {
        let after = *exited.borrow_and_update();
        if after {
            // A pipe that never had a writer does not end either.
            match timeout(SILENCE, from.readable()).await {
                Ok(Ok(())) if left > 0 => {}
                _ => return Ok(()),
            }
        } else {
            tokio::select! {
                ready = from.readable() => if ready.is_err() { return Ok(()) },
                _ = exited.changed() => continue,
            }
        }
        buffer.reserve(CHUNK);
        match from.try_read_buf(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                if after {
                    left = left.saturating_sub(n);
                }
                to.send(output, &buffer.split()).await?;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Ok(()),
        }
    }
}
