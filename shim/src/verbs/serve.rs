// SPDX-License-Identifier: Apache-2.0
//! No verb: the server. Its listening socket is its standard input.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use nix::sys::signal::Signal;
use rustix::{
    process::{getpid, set_child_subreaper, setsid},
    stdio::dup2_stdin,
};

use super::Failed;
use crate::{
    flags::Flags,
    pod::Pod,
    service::{Server, Socket, pod_services},
    sys::Signals,
};

pub(super) fn run(flags: &Flags) -> Result<(), Failed> {
    let socket = Socket { listener: take_stdin()?, path: flags.socket.clone() };
    let _ = setsid();
    set_child_subreaper(Some(getpid()))?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(serve(flags, socket))
}

/// Takes the descriptor behind stdin and leaves the null device in its place.
pub(super) fn take_stdin() -> io::Result<OwnedFd> {
    let taken = io::stdin().as_fd().try_clone_to_owned()?;
    let null = File::open("/dev/null")?;
    dup2_stdin(&null)?;
    Ok(taken)
}

async fn serve(flags: &Flags, socket: Socket) -> Result<(), Failed> {
    let signals = Signals::listen()?;
    let pod = Arc::new(Pod::new(&flags.namespace));
    let services = pod_services(&pod, socket.path.as_deref());
    let server = Server::start(socket, services).await?;
    let mut leaving = Leaving::No;
    loop {
        tokio::select! {
            () = pod.leave.notified() => break,
            () = pod.told.notified() => {}
            signal = signals.next() => match signal? {
                Signal::SIGCHLD => pod.children.sweep(),
                _ => leaving = Leaving::WhenIdle,
            },
        }
        if leaving == Leaving::WhenIdle && !pod.has_life() {
            break;
        }
    }
    server.leave().await;
    Ok(())
}

/// A server that is told to end by a signal stays for as long as a container runs: on shutdown of
/// the machine it must neither hold it up nor lose an exit.
#[derive(PartialEq, Eq)]
enum Leaving {
    No,
    WhenIdle,
}
