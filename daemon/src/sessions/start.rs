// SPDX-License-Identifier: Apache-2.0
//! Starts the process of a session.

use std::{
    fmt,
    fs::File,
    io::{Seek, Write},
    net::{IpAddr, Ipv4Addr, TcpListener},
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::fs::{MemfdFlags, memfd_create};
use tokio::sync::Semaphore;

use super::{
    SessionError,
    listen::{listen, reached_at},
    ticket::{Ticket, TlsFiles, Work},
    watch::{note, see_off},
};
use crate::pods::{
    context::{Context, ShimCgroup},
    error::PodError,
    ids,
};

/// How long a URL is good for.
const UNUSED: Duration = Duration::from_secs(60);
/// Most sessions that this daemon has open.
const MOST: usize = 1000;

/// Ports to listen on; 0 is any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ports {
    /// The first that is tried.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { first, last } if first == last => write!(f, "{first}"),
            Self { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

/// How sessions are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Address to listen on.
    pub address: IpAddr,
    /// Ports to listen on.
    pub ports: Ports,
    /// Certificate and key; `None` for plain HTTP.
    pub tls: Option<TlsFiles>,
    /// How long a client may take nothing while something waits for it.
    pub stall: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let stall = Duration::from_secs(4 * 60 * 60);
        Self { address: Ipv4Addr::LOCALHOST.into(), ports: Ports::default(), tls: None, stall }
    }
}

/// Starts sessions. Clones share the count.
#[derive(Debug, Clone)]
pub struct Sessions {
    settings: Arc<Settings>,
    pub(super) places: Arc<Semaphore>,
}

impl Sessions {
    /// Sessions that are reached as `settings` say.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings: Arc::new(settings), places: Arc::new(Semaphore::new(MOST)) }
    }

    /// Starts a process for `work` and answers with the URL at which it waits for its client.
    ///
    /// # Errors
    /// [`SessionError::Exhausted`], [`SessionError::Listen`], [`SessionError::Start`], or
    /// [`SessionError::Pod`] for a pod that was stopped meanwhile.
    pub fn start(&self, context: &Arc<Context>, work: Work) -> Result<String, SessionError> {
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| SessionError::Exhausted(MOST))?;
        let settings = &self.settings;
        let listener = listen(settings.address, settings.ports)?;
        let reached = reached_at(listener.local_addr()?);
        let scheme = if settings.tls.is_some() { "https" } else { "http" };
        let path = format!("/{}/{}", kind(&work), ids::secret());
        let url = format!("{scheme}://{reached}{path}");
        let cgroup = cgroup(context, &work)?;
        let (tls, stall) = (settings.tls.clone(), settings.stall);
        let ticket = Ticket { path, cgroup, tls, unused: UNUSED, stall, work };
        let process = spawn(&ticket, listener)?;
        let record = note(context, &process, &ticket.work);
        tokio::spawn(see_off(context.clone(), process, record, place));
        Ok(url)
    }
}

/// The directories of the cgroup of the pod's shim, where its sessions are too. Made for a shim
/// that keeps to no cgroup.
fn cgroup(context: &Context, work: &Work) -> Result<Vec<PathBuf>, SessionError> {
    let door = match work {
        Work::Exec(exec) => context.index.container(exec.container.as_str())?.1,
        Work::Attach(attach) => context.index.container(attach.container.as_str())?.1,
        Work::Forward(forward) => context.index.pod(forward.pod.as_str())?,
    };
    let pod = || door.view.borrow().pod.clone();
    let path = context.shim_cgroup(&pod());
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let directories = context.cgroups.directories(&path).unwrap_or_else(|error| {
        tracing::warn!(%path, %error, "sessions stay in the daemon's cgroup");
        Vec::new()
    });
    // A pod that is stopped meanwhile may have removed it before it was made here.
    let pod = pod();
    if !pod.is_ready() {
        if context.shim_cgroup == ShimCgroup::Pod {
            let _ = context.cgroups.remove(&path);
        }
        let wanted = "sessions are of a ready one";
        return Err(PodError::PodState { id: pod.id.clone(), state: "not ready", wanted }.into());
    }
    Ok(directories)
}

/// The process gets a file with the ticket as its standard input and the socket as its standard
/// output: nothing secret is in arguments or environment, and nothing waits for anything.
fn spawn(ticket: &Ticket, listener: TcpListener) -> Result<tokio::process::Child, SessionError> {
    let text = serde_json::to_vec(ticket).map_err(std::io::Error::from)?;
    let file = memfd_create("crisp-session", MemfdFlags::CLOEXEC).map_err(std::io::Error::from)?;
    let mut file = File::from(file);
    file.write_all(&text)?;
    file.rewind()?;
    // The daemon's own program, even after an upgrade has replaced its file.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("crisp")
        .arg("session")
        .env_clear()
        .stdin(Stdio::from(file))
        .stdout(Stdio::from(OwnedFd::from(listener)));
    Ok(tokio::process::Command::from(command).spawn()?)
}

fn kind(work: &Work) -> &'static str {
    match work {
        Work::Exec(_) => "exec",
        Work::Attach(_) => "attach",
        Work::Forward(_) => "portforward",
    }
}
