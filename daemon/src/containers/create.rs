// SPDX-License-Identifier: Apache-2.0
//! CreateContainer: everything is checked and prepared here, so that StartContainer has nothing
//! left to refuse.
//!
//! ```text
//!  image ─▶ rootfs, image volumes ─▶ user ─▶ spec ─▶ plugins ─▶ bundle ─▶ task in the shim
//! ```

use std::path::{Path, PathBuf};

use crisp_podio::ContainerOptions;
use crisp_runtimes::{Kind, preset::AnnotationStyle};
use crisp_words::{ContainerId, Stdio, bundle};
use serde_json::Value;

use super::{
    apparmor::Offer,
    devices, erase,
    host::Support,
    mounts::{MissingSource, resolve_source},
    oci_spec::{
        self, HandlerPolicy, ImageDefaults, NamespacePaths, PodFiles, PodNamespaces, ResolvedMount,
        RuntimeAbilities, SeccompChoice, SpecError, SpecErrorKind, SpecInput,
    },
    record::{ContainerRecord, Made},
    release, resources, signals,
    spec::{ContainerConfig, Mount, MountSource, Stdin, Terminal},
    users::{self, ResolvedUser, UserRequest},
    volumes::{self, Volume},
};
use crate::{
    cgroups::ContainerCgroup,
    files,
    images::Image,
    nri::{self, Announced},
    pods::{
        context::Context,
        error::{FaultKind, PodError},
        handler::{Engine, Handler, OciRuntime},
        members,
        progress::Stage,
        record::PodRecord,
        shim::{self, PodShim, runtime_limit},
        spec::{Pairs, PidSharing, Privilege, Resources, SecurityProfile, Sharing},
        stages::{pod_files, sandbox},
        variant::Variant,
    },
    rootfs::{IdMapping, IdRange},
    shims::{CreateTask, IoStdin, IoTerminal, OpenIo, Options, ShimError, StdioAddresses, TaskRef},
};

/// A container that was made.
pub struct Created {
    /// Facts found out meanwhile.
    pub made: Made,
    /// Resources in force: those asked for, as plugins changed them.
    pub resources: Resources,
    /// It is to be shown before this is dropped.
    pub passage: Option<nri::Passage>,
}

/// A container that could not be made.
#[derive(Debug)]
pub struct Failed {
    /// What is wrong with the request, or what failed.
    pub error: PodError,
    /// Whether anything of it is left.
    pub left: Left,
}

/// Whether a failed creation left anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// All was undone, its record too.
    Nothing,
    /// A step could not be undone; a release and an erasure try again.
    Something,
}

/// Makes a container in its pod, or undoes what was made of it.
///
/// # Errors
/// [`Failed`].
pub async fn create(
    context: &Context,
    pod: &PodRecord,
    shim: &PodShim,
    record: &ContainerRecord,
    target_pid: Option<u32>,
) -> Result<Created, Failed> {
    let stage = context.progress.begin(Stage::Create, &record.id);
    let mut announced = None;
    let made = make(context, pod, shim, record, target_pid, &mut announced).await;
    let error = match made {
        Ok((made, resources)) => {
            let passage = announced.map(|announced| announced.passage);
            return Ok(Created { made, resources, passage });
        }
        Err(error) => error,
    };
    drop(stage);
    if let Some(announced) = announced {
        nri::undo_container(context, pod, record, announced).await;
    }
    let undone = async {
        release::release(context, Some(shim), record).await?;
        erase::erase(context, &record.id).await
    };
    let left = match undone.await {
        Ok(()) => Left::Nothing,
        Err(error) => {
            tracing::warn!(container = %record.id, %error, "failed creation is not undone");
            Left::Something
        }
    };
    Err(Failed { error, left })
}

async fn make(
    context: &Context,
    pod: &PodRecord,
    shim: &PodShim,
    record: &ContainerRecord,
    target_pid: Option<u32>,
    announced: &mut Option<Announced>,
) -> Result<(Made, Resources), PodError> {
    let (id, config) = (&record.id, &record.config);
    let handler = context.handlers.choose(&pod.handler)?;
    admit(id, config, handler)?;
    let image = context
        .images
        .resolve(&config.image.image)
        .map_err(|e| PodError::step(format!("create container {id}"), FaultKind::NotFound, e))?;
    let stop_signal = signals::effective_stop(config.stop_signal, &image.config.stop_signal)
        .map_err(|e| invalid(id, e))?;
    let bundle_dir = context.layout.bundle(id);
    let rootfs = bundle_dir.join(bundle::ROOTFS);
    files::make_dir(&rootfs, 0o711).map_err(|e| internal(id, "make bundle", e))?;
    let prepared = context
        .rootfs
        .prepare(id, &image.id, id_mapping(context, pod))
        .await
        .map_err(|e| internal(id, "make writable layer", e))?;
    context
        .rootfs
        .mount(prepared, rootfs.clone())
        .await
        .map_err(|e| internal(id, "mount rootfs", e))?;
    let volumes = volumes::mount(context, id, config).await?;
    let seccomp = profile(context, handler, &config.security.seccomp);
    let mut facts = gather(config, seccomp, &image, &rootfs, context).await?;
    let mut config = config.clone();
    config.security.namespaces = pod.config.namespaces.for_container(&config.security.namespaces);
    volumes::map_owners(context, pod, id, &mut config.mounts, &mut facts.sources).await?;
    let mut prepared = Prepared {
        context,
        pod,
        handler,
        config,
        image: &image,
        rootfs: &rootfs,
        facts,
        volumes,
        cgroup: context.cgroups.container(&pod.cgroup.path, id),
        target_pid,
    };
    let spec = prepared.announced_spec(record, announced).await?;
    write_spec(&bundle_dir, &spec).map_err(|e| internal(id, "write spec", e))?;
    let config = &prepared.config;
    let log_path = log_path(pod, config);
    let task = Task { context, shim, handler, id, config, bundle: &bundle_dir, log: &log_path };
    task.create(&context.shim_cgroup(pod)).await?;
    let Prepared { config, facts, volumes, cgroup, .. } = prepared;
    let made = Made {
        image_id: image.id.to_string(),
        image_ref: image.digested_name(&config.image.image),
        image_name: image.tagged_name([&config.image.user_specified_image, &config.image.image]),
        user: facts.user,
        stop_signal,
        log_path,
        cgroup: cgroup.path,
        image_volumes: volumes.into_iter().map(|v| (v.container_path, v.image_id)).collect(),
    };
    Ok((made, config.resources))
}

/// Refuses what the handler's containers cannot have.
fn admit(id: &ContainerId, config: &ContainerConfig, handler: &Handler) -> Result<(), PodError> {
    let sees_pids = handler.variant().is_none_or(Variant::is_transparent);
    match config.security.namespaces.pid {
        PidSharing::Target(_) if !sees_pids => {
            let text = "the PID namespace of another container cannot be joined: its processes are \
                        not this host's";
            Err(invalid(id, format!("runtime handler {:?}: {text}", handler.name)))
        }
        _ => Ok(()),
    }
}

fn invalid(
    id: &ContainerId,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> PodError {
    PodError::step(format!("create container {id}"), FaultKind::Invalid, cause)
}

fn internal(
    id: &ContainerId,
    what: &str,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> PodError {
    PodError::step(format!("{what} of container {id}"), FaultKind::Internal, cause)
}

/// How the owners of the root filesystem's files are shown in a pod with a user namespace.
fn id_mapping(context: &Context, pod: &PodRecord) -> Option<IdMapping> {
    let range = |ids: &crate::pods::spec::IdMapping| IdRange {
        container: ids.container_id,
        host: ids.host_id,
        length: ids.length,
    };
    let user = pod.config.namespaces.user.as_ref()?;
    Some(IdMapping {
        userns: context.layout.namespaces(&pod.id).join("user"),
        uids: vec![range(&user.uids)],
        gids: vec![range(&user.gids)],
    })
}

/// The profile that is meant: RuntimeDefault is the handler's, else the node's, else crisp's own.
#[must_use]
pub fn profile(context: &Context, handler: &Handler, asked: &SecurityProfile) -> SecurityProfile {
    let chosen = handler.seccomp_profile.as_ref().or(context.default_seccomp.as_ref());
    match (asked, chosen) {
        (SecurityProfile::RuntimeDefault, Some(path)) => {
            SecurityProfile::Localhost(path.display().to_string())
        }
        (asked, _) => asked.clone(),
    }
}

/// What is read from the host and from the image for the spec.
struct Facts {
    user: ResolvedUser,
    devices: Vec<devices::ResolvedDevice>,
    host_devices: Vec<devices::ResolvedDevice>,
    cdi: super::cdi::CdiEdits,
    seccomp: SeccompChoice,
    apparmor: Option<String>,
    sources: Vec<PathBuf>,
}

async fn gather(
    config: &ContainerConfig,
    seccomp: SecurityProfile,
    image: &Image,
    rootfs: &Path,
    context: &Context,
) -> Result<Facts, PodError> {
    let (mut config, rootfs) = (config.clone(), rootfs.to_owned());
    let image_user = image.config.user.clone();
    config.security.seccomp = seccomp;
    let apparmor = context.apparmor;
    tokio::task::spawn_blocking(move || read_facts(&config, &image_user, &rootfs, apparmor))
        .await
        .map_err(|bug| PodError::step("read the host", FaultKind::Internal, bug))?
}

fn read_facts(
    config: &ContainerConfig,
    image_user: &str,
    rootfs: &Path,
    apparmor: Offer,
) -> Result<Facts, PodError> {
    let step = || format!("create container {}", config.metadata.name);
    let wrong =
        |e: Box<dyn std::error::Error + Send + Sync>| PodError::step(step(), FaultKind::Invalid, e);
    let security = &config.security;
    let request = UserRequest {
        run_as: &security.run_as,
        image_user,
        supplemental_groups: &security.supplemental_groups,
        policy: security.groups_policy,
    };
    let privileged = security.privilege == Privilege::Privileged;
    let host_devices = if privileged { devices::of_the_host() } else { Ok(Vec::new()) };
    let sources = config.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Host(path) => {
            Some(resolve_source(path, mount.propagation, MissingSource::default()))
        }
        MountSource::Image { .. } => None,
    });
    Ok(Facts {
        user: users::resolve_in(rootfs, &request).map_err(|e| wrong(e.into()))?,
        devices: devices::resolve(&config.devices).map_err(|e| wrong(e.into()))?,
        host_devices: host_devices.map_err(|e| wrong(e.into()))?,
        cdi: super::cdi::resolve(&config.cdi_devices, &cdi_dirs()).map_err(|e| wrong(e.into()))?,
        seccomp: super::seccomp::load(&security.seccomp).map_err(|e| wrong(e.into()))?,
        apparmor: super::apparmor::choose(
            &security.apparmor,
            apparmor,
            super::apparmor::loaded_profiles,
        )
        .map_err(|e| wrong(e.into()))?,
        sources: sources.collect::<Result<_, _>>().map_err(|e| wrong(e.into()))?,
    })
}

/// Where CDI specs are, the order of the CDI specification.
fn cdi_dirs() -> [PathBuf; 2] {
    ["/etc/cdi".into(), "/var/run/cdi".into()]
}

fn refused(id: &ContainerId, error: SpecError) -> PodError {
    let kind = match error.kind() {
        SpecErrorKind::InvalidArgument | SpecErrorKind::Unsupported => FaultKind::Invalid,
        SpecErrorKind::RroUnsupported => FaultKind::RroUnsupported,
        SpecErrorKind::ImageVolume => FaultKind::ImageVolume,
        SpecErrorKind::Internal => FaultKind::Internal,
    };
    PodError::step(format!("create container {id}"), kind, error)
}

/// All that a container's spec is made from.
struct Prepared<'a> {
    context: &'a Context,
    pod: &'a PodRecord,
    handler: &'a Handler,
    config: ContainerConfig,
    image: &'a Image,
    rootfs: &'a Path,
    facts: Facts,
    volumes: Vec<Volume>,
    cgroup: ContainerCgroup,
    target_pid: Option<u32>,
}

impl Prepared<'_> {
    /// The spec, as plugins adjust it.
    async fn announced_spec(
        &mut self,
        record: &ContainerRecord,
        announced: &mut Option<Announced>,
    ) -> Result<Value, PodError> {
        let id = &record.id;
        let spec = self.json(id)?;
        let asked = nri::create_container(self.context, self.pod, record, &spec)
            .await
            .map_err(|e| PodError::step(format!("create container {id}"), FaultKind::Denied, e))?;
        let adjust = &announced.insert(asked).adjust;
        if *adjust == crisp_nri::ContainerAdjustment::new() {
            return Ok(spec);
        }
        self.take_up(id, adjust).await?;
        let mut spec = self.json(id)?;
        nri::apply(&mut spec, adjust);
        Ok(spec)
    }

    /// Adjustments that change the request itself: for them the same rules hold whoever asks.
    async fn take_up(
        &mut self,
        id: &ContainerId,
        adjust: &crisp_nri::ContainerAdjustment,
    ) -> Result<(), PodError> {
        let linux = &adjust.linux;
        let limits = nri::to_request(&linux.resources);
        self.config.resources = resources::update(&self.config.resources, &limits);
        if let Some(score) = linux.oom_score_adj.as_ref() {
            self.config.resources.oom_score_adj = score.value;
        }
        if !linux.cgroups_path.is_empty() {
            let path = &linux.cgroups_path;
            self.cgroup = self.context.cgroups.named(path).ok_or_else(|| {
                let what = format!("cgroup {path:?} is not in the form of the cgroup driver");
                PodError::step(format!("adjust container {id}"), FaultKind::Invalid, what)
            })?;
        }
        if !adjust.cdi_devices.is_empty() {
            let added = adjust.cdi_devices.iter().map(|device| device.name.clone());
            let names: Vec<_> = self.config.cdi_devices.iter().cloned().chain(added).collect();
            let edits =
                tokio::task::spawn_blocking(move || super::cdi::resolve(&names, &cdi_dirs()));
            self.facts.cdi = edits
                .await
                .map_err(|bug| internal(id, "read CDI devices", bug))?
                .map_err(|e| invalid(id, e))?;
        }
        Ok(())
    }

    fn json(&self, id: &ContainerId) -> Result<Value, PodError> {
        let spec = self.spec().map_err(|e| refused(id, e))?;
        serde_json::to_value(&spec).map_err(|e| internal(id, "write spec", e))
    }

    fn spec(&self) -> Result<::oci_spec::runtime::Spec, SpecError> {
        let (config, facts) = (&self.config, &self.facts);
        let target = self.target_pid.map(|pid| PathBuf::from(format!("/proc/{pid}/ns/pid")));
        let input = SpecInput {
            pod: &self.pod.config,
            pod_id: &self.pod.id,
            container: config,
            image: &defaults(self.image),
            user: &facts.user,
            host: &self.context.host,
            runtime: &abilities(self.handler),
            policy: &policy(self.handler),
            namespaces: &match self.handler.variant() {
                Some(variant) if !variant.is_transparent() => PodNamespaces::KnownToShim,
                _ => PodNamespaces::Pinned(self.namespaces()),
            },
            target_pid_namespace: target.as_deref(),
            hostname: &pod_files::hostname(self.pod),
            pod_files: &self.files(),
            rootfs: self.rootfs,
            cgroups_path: &self.cgroup.for_runtime,
            mounts: &resolve_mounts(&config.mounts, &facts.sources, &self.volumes),
            devices: &facts.devices,
            host_devices: &facts.host_devices,
            cdi: &facts.cdi,
            seccomp: &facts.seccomp,
            apparmor: facts.apparmor.as_deref(),
            handler_annotations: &self
                .handler
                .variant()
                .map_or_else(Pairs::new, |variant| variant.allowed(&self.pod.config.annotations)),
        };
        oci_spec::generate(&input)
    }

    fn namespaces(&self) -> NamespacePaths {
        let wanted = &self.pod.config.namespaces;
        let pins = self.context.layout.namespaces(&self.pod.id);
        let own = |wanted: bool, name: &str| wanted.then(|| pins.join(name));
        NamespacePaths {
            net: own(wanted.network == Sharing::Pod, "net"),
            ipc: own(wanted.ipc == Sharing::Pod, "ipc"),
            uts: own(wanted.network == Sharing::Pod, "uts"),
            pid: own(wanted.pid == PidSharing::Pod, "pid"),
            user: own(wanted.user.is_some(), "user"),
        }
    }

    fn files(&self) -> PodFiles {
        let files = pod_files::paths(self.context, self.pod);
        PodFiles {
            resolv_conf: Some(files.resolv_conf),
            hostname: Some(files.hostname),
            hosts: Some(files.hosts),
            shm: Some(files.shm),
        }
    }
}

fn defaults(image: &Image) -> ImageDefaults {
    let config = &image.config;
    ImageDefaults {
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        env: config.env.clone(),
        working_dir: config.working_dir.clone(),
        user: config.user.clone(),
        stop_signal: config.stop_signal.clone(),
    }
}

fn policy(handler: &Handler) -> HandlerPolicy {
    let annotations = match &handler.engine {
        // It would look for a sandbox that crisp's own shim does not make.
        Engine::Oci(runtime) if runtime.kind == Kind::Runsc => AnnotationStyle::Nothing,
        Engine::Oci(_) => AnnotationStyle::default(),
        Engine::Shim(variant) => variant.preset.annotations,
    };
    HandlerPolicy { annotations, ..HandlerPolicy::default() }
}

/// What a handler's runtime can do, in the words of the spec's maker.
#[must_use]
pub fn abilities(handler: &Handler) -> RuntimeAbilities {
    RuntimeAbilities {
        handler: handler.name.clone(),
        oci_version_max: Some(handler.abilities.oci_version.clone()),
        // The oldest kernel crisp runs on has both; what differs is the OCI runtime.
        recursive_read_only: Support::when(handler.abilities.recursive_read_only),
        idmap_mounts: Support::when(handler.abilities.idmap_mounts),
    }
}

/// Joins each requested mount with its source: host paths and image volumes come in the order of
/// the request.
fn resolve_mounts<'a>(
    requested: &'a [Mount],
    sources: &[PathBuf],
    volumes: &[Volume],
) -> Vec<ResolvedMount<'a>> {
    let mut sources = sources.iter();
    let mut volumes = volumes.iter().map(|volume| &volume.host_path);
    let source = |request: &Mount| match request.source {
        MountSource::Host(_) => sources.next(),
        MountSource::Image { .. } => volumes.next(),
    };
    let mut source = source;
    requested
        .iter()
        .filter_map(|request| Some(ResolvedMount { request, source: source(request)?.clone() }))
        .collect()
}

fn write_spec(bundle_dir: &Path, spec: &Value) -> std::io::Result<()> {
    let text = serde_json::to_vec(spec)?;
    std::fs::write(bundle_dir.join(bundle::CONFIG), text)
}

/// Absolute path of the container's log; empty when either part is.
fn log_path(pod: &PodRecord, config: &ContainerConfig) -> PathBuf {
    let directory = &pod.config.log_directory;
    if directory.as_os_str().is_empty() || config.log_path.is_empty() {
        PathBuf::new()
    } else {
        directory.join(&config.log_path)
    }
}

/// A container to be made known to its shim.
struct Task<'a> {
    context: &'a Context,
    shim: &'a PodShim,
    handler: &'a Handler,
    id: &'a ContainerId,
    config: &'a ContainerConfig,
    bundle: &'a Path,
    log: &'a Path,
}

impl Task<'_> {
    async fn create(&self, shim_cgroup: &str) -> Result<(), PodError> {
        let Self { context, shim, handler, id, .. } = self;
        let failed = |e| PodError::shim(format!("create container {id}"), e);
        let (stdio, options) = match &handler.engine {
            Engine::Oci(runtime) => {
                let options = options(context, runtime, self.config);
                (stdio(self.config, self.log), Some(Options::crisp_container(&options)))
            }
            Engine::Shim(variant) => {
                members::join(context, shim, handler, id, shim_cgroup).await?;
                (self.pipes().await.map_err(failed)?, variant.options.clone())
            }
        };
        let create = CreateTask {
            task: TaskRef::container(id),
            bundle: self.bundle,
            stdio,
            rootfs: Vec::new(),
            options,
        };
        let client = shim.of(id).map_err(failed)?;
        client.create(create, runtime_limit(&context.limits)).await.map(drop).map_err(failed)
    }

    /// Named pipes, which every shim takes, served by the pod's I/O helper.
    async fn pipes(&self) -> Result<StdioAddresses, ShimError> {
        let record = self.shim.record_of(self.id);
        let open = OpenIo {
            id: self.id,
            dir: self.bundle,
            log: self.log,
            terminal: match self.config.terminal {
                Terminal::Tty => IoTerminal::Tty,
                Terminal::None => IoTerminal::None,
            },
            stdin: match self.config.stdin {
                Stdin::Null => IoStdin::Null,
                Stdin::Open => IoStdin::Open,
                Stdin::Once => IoStdin::Once,
            },
            shim: &shim::target(&record, self.context.launcher.namespace()),
        };
        match &self.shim.helper {
            Some(helper) => helper.open(&open, self.context.limits.shim_call).await,
            None => Err(ShimError::Dead {
                shim: record.address,
                call: "open pipes".into(),
                text: "its pod has no I/O helper".into(),
            }),
        }
    }
}

/// Where the streams go. Without a log they are still offered to attach.
fn stdio(config: &ContainerConfig, log_path: &Path) -> StdioAddresses {
    let log = match log_path.as_os_str().is_empty() {
        true => Stdio::Attach,
        false => Stdio::CriLog(log_path.to_owned()),
    };
    let stdin = match config.stdin {
        Stdin::Null => Stdio::Null,
        Stdin::Open | Stdin::Once => Stdio::Attach,
    };
    let terminal = config.terminal == Terminal::Tty;
    StdioAddresses {
        stdin: stdin.to_string(),
        stdout: log.to_string(),
        stderr: if terminal { String::new() } else { log.to_string() },
        terminal,
    }
}

fn options(context: &Context, runtime: &OciRuntime, config: &ContainerConfig) -> ContainerOptions {
    let mut options = ContainerOptions::new();
    options.runtime = Some(sandbox::runtime_options(context, runtime)).into();
    options.stdin_once = config.stdin == Stdin::Once;
    options
}
