// SPDX-License-Identifier: Apache-2.0
//! One container: its init, its execs and the verbs on them, one file per verb.

mod create;
mod delete;
mod error;
mod exec;
mod exit;
mod kill;
mod start;
mod update;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
};

use crisp_words::bundle;

pub(crate) use create::NewContainer;
pub(crate) use error::ContainerError;
pub(crate) use exec::NewExec;
pub(crate) use kill::Reach;

use crate::{
    cgroup::{Cgroups, OomWatch},
    invoke::Call,
    options::Driven,
    pod::Pod,
    process::{Phase, Process, Refusal, StdioText, Verb, lock},
    spec::PidNamespace,
};

pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) init: Process,
    driven: Driven,
    execs: Mutex<BTreeMap<String, Arc<Exec>>>,
    /// Held by the verb that is under way; looking, waiting and killing do not take it.
    verb: tokio::sync::Mutex<()>,
    pid_namespace: OnceLock<PidNamespace>,
    cgroups: OnceLock<Cgroups>,
    oom: OnceLock<OomWatch>,
    rootfs: Rootfs,
}

/// Who mounted the root filesystem, and so has to unmount it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rootfs {
    Caller,
    Shim,
}

/// One more process in a container.
pub(crate) struct Exec {
    pub(crate) process: Process,
    /// OCI process, JSON.
    spec: Vec<u8>,
    verb: tokio::sync::Mutex<()>,
}

/// A process of a container: init, or an exec.
pub(crate) enum Target {
    Init(Arc<Container>),
    Exec(Arc<Container>, Arc<Exec>),
}

impl Target {
    pub(crate) fn process(&self) -> &Process {
        match self {
            Self::Init(container) => &container.init,
            Self::Exec(_, exec) => &exec.process,
        }
    }
}

impl Container {
    fn new(id: String, bundle: PathBuf, driven: Driven, stdio: StdioText, rootfs: Rootfs) -> Self {
        Self {
            id,
            bundle,
            init: Process::new(stdio, Phase::Creating),
            driven,
            execs: Mutex::default(),
            verb: tokio::sync::Mutex::default(),
            pid_namespace: OnceLock::new(),
            cgroups: OnceLock::new(),
            oom: OnceLock::new(),
            rootfs,
        }
    }

    /// Init for an empty exec id, else that exec.
    pub(crate) fn target(self: Arc<Self>, exec_id: &str) -> Result<Target, ContainerError> {
        if exec_id.is_empty() {
            return Ok(Target::Init(self));
        }
        let found = lock(&self.execs).get(exec_id).cloned();
        match found {
            Some(exec) => Ok(Target::Exec(self, exec)),
            None => {
                Err(ContainerError::NoExec { id: self.id.clone(), exec_id: exec_id.to_owned() })
            }
        }
    }

    /// Host pids and, where known, the exec each belongs to.
    pub(crate) fn pids(&self) -> Vec<(u32, Option<String>)> {
        let pids = match self.cgroups.get() {
            Some(cgroups) => cgroups.pids(),
            None => Vec::new(),
        };
        let execs = lock(&self.execs);
        let exec_of = |pid: u32| {
            let of = |e: &&Arc<Exec>| e.process.pid() == pid;
            execs.iter().find(|(_, e)| of(e)).map(|(id, _)| id.clone())
        };
        pids.into_iter().map(|pid| (pid, exec_of(pid))).collect()
    }

    /// The container's cgroups, once its init is made.
    pub(crate) fn cgroups(&self) -> Option<&Cgroups> {
        self.cgroups.get()
    }

    /// The runtime's log of this container's verbs; execs have one each.
    fn log(&self) -> PathBuf {
        self.bundle.join(bundle::RUNTIME_LOG)
    }

    fn call<'a>(&self, pod: &'a Pod, log: &'a Path) -> Call<'a> {
        let Driven { runtime, deadline } = &self.driven;
        Call {
            kind: runtime.kind,
            log,
            deadline: *deadline,
            children: &pod.children,
            oom_score_adj: None,
        }
    }

    fn admit(&self, verb: Verb) -> Result<(), ContainerError> {
        self.init.phase().admit(verb).map_err(|refusal| self.refused(refusal))
    }

    fn refused(&self, refusal: Refusal) -> ContainerError {
        ContainerError::Refused { thing: format!("container {}", self.id), refusal }
    }
}
