// SPDX-License-Identifier: Apache-2.0
//! What the daemon hands to a session's process: all that it needs to know, so that it needs
//! neither the daemon nor its configuration.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use crisp_words::{ContainerId, ExecId, SandboxId};
use oci_spec::runtime::Process;
use serde::{Deserialize, Serialize};

use crate::{containers::spec::Terminal, pods::record::ShimRecord};

/// A session: where it is reached and what it does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ticket {
    /// The path of its URL, with the secret in it.
    pub path: String,
    /// Directories of the cgroup that its process moves itself to, in each hierarchy. None: it
    /// stays with the daemon.
    pub cgroup: Vec<PathBuf>,
    /// Certificate and key, read when the client comes; `None` for plain HTTP.
    pub tls: Option<TlsFiles>,
    /// How long it waits for its client.
    pub unused: Duration,
    /// How long a client may take nothing while something waits for it.
    pub stall: Duration,
    /// What is done.
    pub work: Work,
}

/// Files of a TLS server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsFiles {
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
}

/// What a session does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Work {
    /// Runs a process in a container.
    Exec(Box<Exec>),
    /// Joins a container's streams.
    Attach(Attach),
    /// Connects to ports of a pod.
    Forward(Forward),
}

/// A process to run in a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Exec {
    /// The container.
    pub container: ContainerId,
    /// The exec's own id.
    pub exec: ExecId,
    /// Directory for its pipes.
    pub bundle: PathBuf,
    /// The process.
    pub process: Process,
    /// Whether it has a terminal.
    pub terminal: Terminal,
    /// Which of its streams the client wants.
    pub wants: Wants,
    /// The pod's shim.
    pub shim: Shim,
}

/// A container to attach to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Attach {
    /// The container.
    pub container: ContainerId,
    /// Whether it has a terminal.
    pub terminal: Terminal,
    /// Which of its streams the client wants.
    pub wants: Wants,
    /// The pod's shim.
    pub shim: Shim,
}

/// A pod to connect to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Forward {
    /// The pod.
    pub pod: SandboxId,
    /// The network namespace to connect from; `None` for the node's.
    pub namespace: Option<PathBuf>,
    /// Addresses to connect to, in turn. Loopback ones in the pod's namespace; of a pod whose
    /// network is behind its own kernel, its addresses as the node reaches them.
    pub addresses: Vec<IpAddr>,
}

/// Which streams a client wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wants {
    /// Into the process.
    pub stdin: bool,
    /// Out of the process.
    pub stdout: bool,
    /// Out of the process; a terminal has none.
    pub stderr: bool,
}

/// A shim and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shim {
    /// How it is reached.
    pub record: ShimRecord,
    /// Address at which its containers' streams are served: its own, or its I/O helper's.
    pub io: String,
    /// containerd namespace that its containers are in.
    pub namespace: String,
    /// For a call that runs no OCI runtime.
    pub call: Duration,
    /// For a call that does.
    pub runtime: Duration,
    /// From SIGKILL until the process is gone.
    pub kill: Duration,
}
