// SPDX-License-Identifier: Apache-2.0
//! The process of a session: `crisp session`, started by the daemon, needs it no more.
//!
//! Standard input is a file with the [`Ticket`], standard output the socket that listens for the
//! client. One thread; ends with the session.

mod attach;
mod client;
mod door;
mod exec;
mod feed;
mod forward;
#[cfg(test)]
mod fuzz;
mod handshake;
mod outbox;
mod outcome;
mod pairs;
mod pipes;
mod resize;
mod tls;
mod wire;

use std::{
    fs::File,
    io::{self, Write},
    net::TcpListener,
    os::fd::AsFd,
    path::PathBuf,
};

use anyhow::Context;
use rustix::{
    process::setsid,
    stdio::{dup2_stdin, dup2_stdout},
    thread::set_name,
};
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};

use super::ticket::{Shim, Ticket, Work};
use crate::{
    network::netns,
    pods::shim::PodShim,
    shims::{ShimClient, ShimError, ShimTarget, TaskApi},
    sys::heap,
};
use handshake::Purpose;

/// Serves the session that the daemon has handed over.
///
/// # Errors
/// Whatever kept it from being served, with causes.
pub fn run() -> anyhow::Result<()> {
    heap::limit_arenas();
    // Out of the daemon's process group, so that nothing sent to that ends the session.
    let _ = setsid();
    // Started by way of /proc/self/exe, it would be called "exe" in every list of processes.
    let _ = set_name(c"crisp-session");
    let (ticket, listener) = inherit().context("this command is for the daemon's use")?;
    enter_cgroup(&ticket.cgroup);
    if let Work::Forward(forward) = &ticket.work
        && let Some(pin) = &forward.namespace
    {
        // The socket stays in the namespace it was made in; all connections are made in this one.
        netns::enter(pin).with_context(|| format!("cannot enter {}", pin.display()))?;
    }
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?
        .block_on(serve(&ticket, listener))
}

/// Leaves the daemon's cgroup: neither the end of its unit nor its limits are for sessions. One
/// that cannot is served all the same.
fn enter_cgroup(directories: &[PathBuf]) {
    for directory in directories {
        if let Err(error) = std::fs::write(directory.join("cgroup.procs"), "0") {
            say(&format!("cannot enter cgroup {}: {error}", directory.display()));
        }
    }
}

/// Takes over what the daemon left in place of standard input and output.
fn inherit() -> anyhow::Result<(Ticket, TcpListener)> {
    let ticket = serde_json::from_reader(io::BufReader::new(io::stdin().lock()))?;
    let listener = TcpListener::from(io::stdout().as_fd().try_clone_to_owned()?);
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    listener.set_nonblocking(true)?;
    Ok((ticket, listener))
}

async fn serve(ticket: &Ticket, listener: TcpListener) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let purpose = match ticket.work {
        Work::Exec(_) | Work::Attach(_) => Purpose::Streams,
        Work::Forward(_) => Purpose::Ports,
    };
    let admitted = tokio::select! {
        admitted = door::admit(listener, ticket, purpose) => admitted,
        _ = terminate.recv() => None,
    };
    let Some(admitted) = admitted else { return Ok(()) };
    let stop = async {
        terminate.recv().await;
    };
    match &ticket.work {
        Work::Exec(work) => exec::serve(work, ticket.stall, admitted, stop).await?,
        Work::Attach(work) => attach::serve(work, ticket.stall, admitted, stop).await?,
        Work::Forward(work) => forward::serve(work, ticket.stall, admitted, stop).await,
    }
    Ok(())
}

async fn shim_client(shim: &Shim) -> Result<ShimClient, ShimError> {
    Ok(PodShim::connect(shim.record.clone(), &shim.namespace, shim.call).await?.client)
}

/// A connection to whoever serves the streams of the shim's containers.
async fn io_client(shim: &Shim) -> Result<ShimClient, ShimError> {
    let target = ShimTarget {
        address: shim.io.clone(),
        namespace: shim.namespace.clone(),
        task_api: TaskApi::V3,
    };
    ShimClient::connect(target, shim.call).await
}

/// Writes a line to the daemon's log. It may have died, and its log with it.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "crisp session: {text}");
}
