// SPDX-License-Identifier: Apache-2.0
//! The pod itself: namespaces that outlive its containers, with no pause process.
//!
//! A caller that gives a directory for pins gets the namespaces as files there; only a shared PID
//! namespace needs a process, `crisp-init`. A caller that gives none (containerd) gets the process
//! in any case, as it joins namespaces by the sandbox's pid.

mod cri;
mod files;
mod helper;
mod pins;
mod plan;
mod sysctl;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use protobuf::well_known_types::any::Any;
use tokio::{sync::watch, time::timeout};

pub(crate) use files::PodFiles;
pub(crate) use helper::make_namespaces;
pub(crate) use pins::unpin;
pub(crate) use plan::{Plan, PlanError};

use crate::{
    cgroup::{self, Cgroups},
    options::{self, ForSandbox, OptionsError},
    pod::Pod,
    process::{Exit, Live, lock},
    record::{SandboxRecord, start_time},
};

/// How long a killed init may take to vanish.
const KILLED: Duration = Duration::from_secs(5);
const SIGKILL: u32 = 9;

/// Why a sandbox could not be made or found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    #[error("this shim serves no sandbox {0}")]
    Unknown(String),
    #[error("sandbox {0} exists already")]
    Exists(String),
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("cannot make the namespaces of sandbox {id}: {reason}")]
    Namespaces { id: String, reason: String },
    #[error("cannot pin the namespaces of sandbox {id} in {}", .dir.display())]
    Pin { id: String, dir: PathBuf, source: io::Error },
    #[error("cannot move the shim of sandbox {id} to cgroup {cgroup}")]
    Cgroup { id: String, cgroup: String, source: io::Error },
    #[error("cannot make the files that the containers of sandbox {id} share")]
    Files { id: String, source: io::Error },
    #[error("cannot write the record of sandbox {id}")]
    Record { id: String, source: io::Error },
    #[error("the counters of sandbox {id} cannot be read")]
    Metrics { id: String, source: io::Error },
    #[error("the init of sandbox {0} did not end although it was killed")]
    Unkillable(String),
}

/// The one sandbox of a server, if it was asked for.
#[derive(Default)]
pub(crate) struct Sandbox(Mutex<Option<Arc<State>>>);

/// A sandbox that exists.
pub(crate) struct State {
    pub(crate) id: String,
    pub(crate) created_at: SystemTime,
    pub(crate) end: watch::Sender<Option<Exit>>,
    bundle: PathBuf,
    pins: Vec<PathBuf>,
    init: Option<Arc<Live>>,
    /// Files that its containers share, where the caller leaves them to the shim.
    pub(crate) files: Option<PodFiles>,
    /// The pod's cgroup, where the caller told it.
    pub(crate) cgroup: Option<String>,
}

/// What Sandbox.CreateSandbox asks for.
pub(crate) struct NewSandbox {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) netns: String,
    pub(crate) options: ForSandbox,
}

impl State {
    /// Pid of the sandbox's own process, 0 when it has none.
    pub(crate) fn pid(&self) -> u32 {
        self.init.as_ref().map_or(0, |live| live.pid())
    }

    /// Waits for the sandbox's end.
    pub(crate) async fn ended(&self) -> Option<Exit> {
        let mut end = self.end.subscribe();
        end.wait_for(Option::is_some).await.ok().and_then(|e| *e)
    }

    /// What the pod's cgroup used; `None` where the caller did not tell which it is.
    pub(crate) fn metrics(&self) -> Result<Option<Any>, SandboxError> {
        let read = self.cgroup.as_deref().map(|path| cgroup::metrics(&Cgroups::at(path)));
        read.transpose().map_err(|source| SandboxError::Metrics { id: self.id.clone(), source })
    }

    fn finish(&self, exit: Exit) {
        self.end.send_if_modified(|end| {
            let first = end.is_none();
            end.get_or_insert(exit);
            first
        });
    }
}

impl Sandbox {
    /// The sandbox, if its id is the one asked for.
    pub(crate) fn get(&self, id: &str) -> Result<Arc<State>, SandboxError> {
        let state = lock(&self.0).clone().filter(|s| s.id == id);
        state.ok_or_else(|| SandboxError::Unknown(id.to_owned()))
    }

    /// The files that its containers share, if the shim made them.
    pub(crate) fn files(&self) -> Option<PodFiles> {
        lock(&self.0).as_ref().and_then(|s| s.files.clone())
    }

    /// Whether there is a sandbox that has not ended.
    pub(crate) fn is_up(&self) -> bool {
        lock(&self.0).as_ref().is_some_and(|s| s.end.borrow().is_none())
    }

    /// Makes the pod's namespaces.
    pub(crate) async fn create(pod: &Arc<Pod>, new: NewSandbox) -> Result<(), SandboxError> {
        if lock(&pod.sandbox.0).is_some() {
            return Err(SandboxError::Exists(new.id));
        }
        let (plan, config) = match &new.options {
            ForSandbox::Own(own) => {
                if let Some(runtime) = own.runtime.as_ref() {
                    pod.set_runtime(options::ours(runtime)?);
                }
                enter_cgroup(&new.id, &own.shim_cgroup)?;
                (Plan::of_own(own, &new.netns)?, None)
            }
            ForSandbox::Cri(config) => {
                let config = cri::Config::parse(config);
                (Plan::of_cri(config.clone(), &new.netns)?, Some(config))
            }
            ForSandbox::None => (Plan::of_cri(cri::Config::default(), &new.netns)?, None),
        };
        let files = config.as_ref().map(|config| PodFiles::make(&new.bundle, config)).transpose();
        let files = files.map_err(|source| SandboxError::Files { id: new.id.clone(), source })?;
        let made = helper::run(pod, &new.id, &plan).await;
        let made = made.inspect_err(|_| PodFiles::remove(&new.bundle))?;
        let state = Arc::new(State {
            id: new.id,
            created_at: SystemTime::now(),
            end: watch::Sender::new(None),
            bundle: new.bundle,
            pins: made.pins,
            init: made.init,
            files,
            cgroup: config.and_then(|config| config.cgroup_parent),
        });
        watch_init(pod.clone(), state.clone());
        if let Err(source) = state.write_record() {
            let id = state.id.clone();
            state.stop().await?;
            return Err(SandboxError::Record { id, source });
        }
        *lock(&pod.sandbox.0) = Some(state);
        Ok(())
    }
}

impl State {
    fn write_record(&self) -> io::Result<()> {
        let init = self.init.as_ref().map(|live| live.pid());
        let init = init.and_then(|pid| Some((pid, start_time(pid)?)));
        let version = SandboxRecord::VERSION;
        SandboxRecord { version, pins: self.pins.clone(), init }.write(&self.bundle)
    }

    /// Ends the sandbox: its init and whatever lives in its PID namespace, then the pins. Stopping
    /// again is fine.
    pub(crate) async fn stop(&self) -> Result<(), SandboxError> {
        let stopped = Exit { status: 0, at: SystemTime::now() };
        if let Some(init) = &self.init {
            let _ = init.signal(SIGKILL);
            if timeout(KILLED, self.ended()).await.is_err() {
                return Err(SandboxError::Unkillable(self.id.clone()));
            }
        }
        self.finish(stopped);
        unpin(&self.pins);
        PodFiles::remove(&self.bundle);
        SandboxRecord::remove(&self.bundle);
        Ok(())
    }
}

/// The end of init is the end of the sandbox.
fn watch_init(pod: Arc<Pod>, state: Arc<State>) {
    let Some(init) = state.init.clone() else { return };
    tokio::spawn(async move {
        let status = init.reap(&pod.children).await;
        state.finish(Exit { status, at: SystemTime::now() });
    });
}

fn enter_cgroup(id: &str, path: &str) -> Result<(), SandboxError> {
    if path.is_empty() {
        return Ok(());
    }
    cgroup::enter(path, std::process::id()).map_err(|source| {
        let (id, cgroup) = (id.to_owned(), path.to_owned());
        SandboxError::Cgroup { id, cgroup, source }
    })
}
