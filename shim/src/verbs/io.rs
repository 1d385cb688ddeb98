// SPDX-License-Identifier: Apache-2.0
//! `serve-io`: the server of pipes for the containers of another's shim. `io` starts it, as `start`
//! starts the shim.

use std::sync::Arc;

use nix::sys::signal::Signal;
use rustix::process::setsid;

use super::{Failed, serve::take_stdin};
use crate::{
    flags::Flags,
    service::{Opened, Server, Socket, opened_services},
    sys::Signals,
};

pub(super) fn run(flags: &Flags) -> Result<(), Failed> {
    let socket = Socket { listener: take_stdin()?, path: flags.socket.clone() };
    let _ = setsid();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(serve(socket))
}

/// One that is told to end by a signal stays for as long as it serves a container: without it the
/// container would come to a stop once its pipes are full.
async fn serve(socket: Socket) -> Result<(), Failed> {
    let signals = Signals::listen()?;
    let opened = Arc::new(Opened::new(socket.path.as_deref()));
    let server = Server::start(socket, opened_services(&opened)).await?;
    let mut told = false;
    while !(opened.is_shut_down() || told && opened.is_empty()) {
        tokio::select! {
            () = opened.changed.notified() => {}
            signal = signals.next() => told |= signal? != Signal::SIGCHLD,
        }
    }
    server.leave().await;
    Ok(())
}
