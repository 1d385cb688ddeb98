// SPDX-License-Identifier: Apache-2.0

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use containerd_shim_protos::{
    api::Mount,
    events::task::{TaskCreate, TaskIO},
};
use crisp_runtimes::{Bundle, Force, Tty};
use crisp_words::{ContainerId, bundle};

use super::{Container, ContainerError, Rootfs, exit};
use crate::{
    cgroup::{Cgroups, OomWatch},
    io::{ChildStdio, ContainerIo, ReaderGone},
    mounts,
    options::ForContainer,
    pod::Pod,
    process::{Live, Phase, StdioText, pid_in},
    record::ContainerRecord,
    spec::Spec,
};

/// How long the terminal may take to come after the runtime has said that all is made.
pub(super) const CONSOLE: Duration = Duration::from_secs(10);

/// What Task.Create asks for.
pub(crate) struct NewContainer {
    pub(crate) id: String,
    pub(crate) bundle: String,
    pub(crate) rootfs: Vec<Mount>,
    pub(crate) stdio: StdioText,
    pub(crate) options: ForContainer,
}

impl NewContainer {
    /// Makes the container and its init; answers with init's pid. What a failure leaves half done
    /// is undone before it is told.
    pub(crate) async fn create(self, pod: &Arc<Pod>) -> Result<u32, ContainerError> {
        ContainerId::new(self.id.as_str())?;
        let bundle = PathBuf::from(&self.bundle);
        if !bundle.is_absolute() || !bundle.is_dir() {
            return Err(ContainerError::Bundle(self.bundle));
        }
        let driven = match self.options.runtime.clone().or_else(|| pod.runtime()) {
            Some(driven) => driven,
            None => crate::options::default_runtime(&pod.namespace)?,
        };
        let rootfs = if self.rootfs.is_empty() { Rootfs::Caller } else { Rootfs::Shim };
        let container =
            Arc::new(Container::new(self.id.clone(), bundle, driven, self.stdio.clone(), rootfs));
        pod.admit(container.clone())?;
        // A delete that waits for this finds a container that is made, or one that is forgotten.
        let _verb = container.verb.lock().await;
        let made = self.make(pod, &container).await;
        if made.is_err() {
            container.undo_create(pod).await;
            pod.forget(&self.id);
        }
        made
    }

    async fn make(
        &self,
        pod: &Arc<Pod>,
        container: &Arc<Container>,
    ) -> Result<u32, ContainerError> {
        if let Some(files) = pod.sandbox.files() {
            files.add_to(&container.bundle).map_err(|source| {
                let path = container.bundle.join(bundle::CONFIG);
                ContainerError::File { what: "cannot add the pod's files to", path, source }
            })?;
        }
        let spec = container.read_spec()?;
        let _ = container.pid_namespace.set(spec.pid_namespace());
        container.write_record()?;
        mounts::mount_all(&self.rootfs, &container.bundle.join(bundle::ROOTFS))?;
        let (io, stdio) = container.open_io(self)?;
        let pid = container.run_create(pod, &spec, &io, stdio).await?;
        container.init.enter(Phase::Created);
        pod.events.publish("/tasks/create", &self.event(pid));
        Ok(pid)
    }

    fn event(&self, pid: u32) -> TaskCreate {
        let io = TaskIO {
            stdin: self.stdio.stdin.clone(),
            stdout: self.stdio.stdout.clone(),
            stderr: self.stdio.stderr.clone(),
            terminal: self.stdio.terminal,
            ..TaskIO::default()
        };
        TaskCreate {
            container_id: self.id.clone(),
            bundle: self.bundle.clone(),
            rootfs: self.rootfs.clone(),
            io: Some(io).into(),
            pid,
            ..TaskCreate::default()
        }
    }
}

impl Container {
    fn read_spec(&self) -> Result<Spec, ContainerError> {
        Spec::read(&self.bundle).map_err(|source| {
            let path = self.bundle.join(bundle::CONFIG);
            ContainerError::File { what: "cannot read", path, source }
        })
    }

    fn write_record(&self) -> Result<(), ContainerError> {
        let runtime = &self.driven.runtime;
        let stdio = self.init.stdio.clone();
        let record = ContainerRecord {
            version: ContainerRecord::VERSION,
            id: self.id.clone(),
            kind: runtime.kind.name().to_owned(),
            binary: runtime.binary.clone(),
            root: runtime.root.clone(),
            systemd_cgroup: runtime.cgroups == crisp_runtimes::CgroupDriver::Systemd,
            stdin: stdio.stdin,
            stdout: stdio.stdout,
            stderr: stdio.stderr,
            terminal: stdio.terminal,
            mounted: self.rootfs == Rootfs::Shim,
        };
        record.write(&self.bundle).map_err(|source| {
            let path = self.bundle.clone();
            ContainerError::File { what: "cannot write the record of a container to", path, source }
        })
    }

    fn open_io(&self, new: &NewContainer) -> Result<(ContainerIo, ChildStdio), ContainerError> {
        let streams = new.stdio.streams(new.options.stdin_once, ReaderGone::Blocks)?;
        let thing = || format!("container {}", self.id);
        let (io, child) = ContainerIo::open(&self.bundle, streams)
            .map_err(|source| ContainerError::Io { thing: thing(), source })?;
        self.init.set_io(io.clone());
        Ok((io, child))
    }

    /// Runs the runtime's `create` and takes over the init it leaves.
    async fn run_create(
        self: &Arc<Self>,
        pod: &Arc<Pod>,
        spec: &Spec,
        io: &ContainerIo,
        stdio: ChildStdio,
    ) -> Result<u32, ContainerError> {
        let thing = || format!("container {}", self.id);
        let (log, pid_file) = (self.log(), self.bundle.join(bundle::INIT_PID));
        let console = io.console_socket();
        let tty = console.as_deref().map_or(Tty::None, Tty::Socket);
        let bundle = Bundle { dir: &self.bundle, pid_file: &pid_file, tty };
        let argv = self.driven.runtime.create(&self.id, bundle, &log);
        let _handing_over = pod.children.handing_over();
        let mut call = self.call(pod, &log);
        // crun's init keeps what crun inherits, the shim's protection, where the spec says 0.
        call.oom_score_adj = spec.oom_score_adj();
        let ran = call.run(&argv, Some(stdio)).await;
        ran.map_err(|source| ContainerError::Runtime { verb: "create", thing: thing(), source })?;
        let live = take_over(&pid_file, pod)
            .map_err(|source| ContainerError::Process { thing: thing(), source })?;
        let pid = live.pid();
        if let Ok(cgroups) = Cgroups::of(pid) {
            if let Some(watch) = OomWatch::arm(&cgroups) {
                let _ = self.oom.set(watch);
            }
            let _ = self.cgroups.set(cgroups);
        }
        self.init.set_live(live);
        exit::watch_init(pod.clone(), self.clone());
        if console.is_some() {
            io.receive_console(CONSOLE)
                .await
                .map_err(|source| ContainerError::Io { thing: thing(), source })?;
        }
        Ok(pid)
    }

    /// Leaves nothing of a container whose creation failed.
    async fn undo_create(&self, pod: &Pod) {
        let log = self.bundle.join("undo.log");
        let argv = self.driven.runtime.delete(&self.id, Force::Yes, &log);
        let _ = self.call(pod, &log).run(&argv, None).await;
        let _ = std::fs::remove_file(&log);
        self.close_io();
        self.unmount_rootfs();
        ContainerRecord::remove(&self.bundle);
    }
}

fn take_over(pid_file: &Path, pod: &Pod) -> io::Result<Arc<Live>> {
    Live::open(pid_in(pid_file)?, &pod.children)
}
