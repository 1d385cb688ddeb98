// SPDX-License-Identifier: Apache-2.0
//! Stage: the pod's shim and, in it, the sandbox with its ipc, uts and pid namespaces.

use std::{collections::HashMap, path::Path};

use crisp_podio::{RuntimeOptions, SandboxOptions};

use super::{pod_files, sandbox_container};
use crate::{
    cgroups::Driver,
    files,
    pods::{
        context::Context,
        error::{FaultKind, PodError},
        handler::{Handler, OciRuntime},
        progress::Stage,
        record::{Maker, PodRecord, ShimRecord},
        shim::{PodShim, answered, gone_is_fine},
        spec::{PidSharing, Sharing},
    },
    shims::{CreateSandbox, EventsTo, LogPipe, Options, ShimError, TaskRef},
};

/// Where shims put their sockets that cannot be told otherwise.
const THEIRS: &str = "/run/containerd/s";

/// Starts the pod's shim and connects to it. Needs nothing of the network.
///
/// # Errors
/// [`PodError`] naming the shim.
pub async fn start_shim(
    context: &Context,
    pod: &PodRecord,
    handler: &Handler,
) -> Result<PodShim, PodError> {
    let _stage = context.progress.begin(Stage::Shim, &pod.id);
    let bundle = context.layout.sandbox_bundle(&pod.id);
    let made = files::make_dir(&bundle, 0o711)
        .and_then(|()| files::make_dir(&context.layout.sockets(), 0o711));
    made.map_err(|e| PodError::step(format!("make {}", bundle.display()), FaultKind::Internal, e))?;
    if let Some(variant) = handler.variant() {
        sandbox_container::write_bundle(context, pod, handler, variant).await?;
    }
    spawn_shim(context, pod, handler, &bundle)
        .await
        .map_err(|e| PodError::shim(format!("start shim of pod {}", pod.id), e))
}

async fn spawn_shim(
    context: &Context,
    pod: &PodRecord,
    handler: &Handler,
    bundle: &Path,
) -> Result<PodShim, ShimError> {
    let mut launch = context.launch(&handler.shim, pod.id.as_str(), bundle);
    let log = match handler.variant() {
        Some(variant) => {
            launch.dialect = variant.dialect;
            launch.options = variant.options.as_ref();
            Some(LogPipe::open(bundle, pod.id.as_str())?)
        }
        // crisp's own says on record what others say by events alone.
        None => {
            launch.events = EventsTo::Nobody;
            None
        }
    };
    let answer = context.launcher.start(&launch, context.limits.shim_start).await?;
    answer.save(bundle)?;
    let record = answered(answer, &handler.shim, handler.maker());
    let limit = context.limits.shim_call;
    let namespace = context.launcher.namespace();
    let mut shim = PodShim::connect(record, namespace, limit).await?;
    let hello = shim.client.connected(TaskRef::sandbox(&pod.id), limit).await?;
    shim.record.pid = hello.shim_pid;
    context.metrics.shim_started();
    let Some(log) = log else { return Ok(shim) };
    // One that cannot be moved works where it is. crisp's own moves itself.
    if let Err(error) = context.cgroups.join(&context.shim_cgroup(pod), shim.record.pid) {
        tracing::warn!(pod = %pod.id, %error, "shim stays in the daemon's cgroup");
    }
    shim.helper =
        Some(sandbox_container::io_helper(context, pod, context.limits.shim_start).await?);
    Ok(shim.with_log(log))
}

/// Makes the sandbox in its shim: namespaces pinned, host name and sysctls set. Needs the network
/// namespace to exist, not its interfaces.
///
/// # Errors
/// [`PodError`] naming the pod.
pub async fn create(
    context: &Context,
    pod: &PodRecord,
    runtime: &OciRuntime,
    shim: &PodShim,
) -> Result<(), PodError> {
    let _stage = context.progress.begin(Stage::Sandbox, &pod.id);
    let failed = |e| PodError::shim(format!("create sandbox {}", pod.id), e);
    let namespaces = context.layout.namespaces(&pod.id);
    let netns = match pod.config.namespaces.network {
        Sharing::Pod => namespaces.join("net").display().to_string(),
        Sharing::Node => String::new(),
    };
    let create = CreateSandbox {
        id: &pod.id,
        bundle: &context.layout.sandbox_bundle(&pod.id),
        netns: &netns,
        options: Some(Options::crisp_sandbox(&options(context, pod, runtime))),
        annotations: HashMap::new(),
    };
    let limit = context.limits.shim_call;
    shim.client.create_sandbox(create, limit).await.map_err(failed)?;
    shim.client.start_sandbox(&pod.id, limit).await.map_err(failed)?;
    Ok(())
}

fn options(context: &Context, pod: &PodRecord, runtime: &OciRuntime) -> SandboxOptions {
    let config = &pod.config;
    let pins = context.layout.namespaces(&pod.id);
    let userns = config.namespaces.user.as_ref().map(|_| pins.join("user").display().to_string());
    let mut options = SandboxOptions::new();
    // With host networking the UTS namespace is the host's too.
    options.own_uts = config.namespaces.network == Sharing::Pod;
    if options.own_uts {
        options.hostname = pod_files::hostname(pod);
    }
    options.own_ipc = config.namespaces.ipc == Sharing::Pod;
    options.shared_pid = config.namespaces.pid == PidSharing::Pod;
    options.userns_path = userns.unwrap_or_default();
    options.sysctls =
        config.sysctls.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    options.pin_dir = pins.display().to_string();
    options.runtime = Some(runtime_options(context, runtime)).into();
    options.shim_cgroup = context.shim_cgroup(pod);
    options
}

/// What crisp's shim is told about the OCI runtime it drives.
#[must_use]
pub fn runtime_options(context: &Context, runtime: &OciRuntime) -> RuntimeOptions {
    let mut options = RuntimeOptions::new();
    options.kind = runtime.kind.to_string();
    options.binary = runtime.binary.display().to_string();
    options.root = runtime.root.display().to_string();
    options.systemd_cgroup = context.cgroups.driver() == Driver::Systemd;
    options.deadline_s = u32::try_from(context.limits.runtime.as_secs()).unwrap_or(u32::MAX);
    options
}

/// Ends the sandbox and its shim. Without a connection, the shim is ended by its own `delete`
/// verb; one that does not answer is killed.
///
/// # Errors
/// [`PodError`] naming the pod.
pub async fn undo(
    context: &Context,
    pod: &PodRecord,
    shim: Option<&PodShim>,
) -> Result<(), PodError> {
    let _stage = context.progress.begin(Stage::SandboxUndo, &pod.id);
    let maker = shim.map(|shim| &shim.record).or(pod.shim.as_ref()).map_or_else(
        || context.handlers.choose_or_default(&pod.handler).maker(),
        |record| record.maker,
    );
    match maker {
        Maker::Crisp => end(context, pod, shim).await?,
        Maker::Other => sandbox_container::end(context, pod, shim).await?,
    }
    let bundle = context.layout.sandbox_bundle(&pod.id);
    crate::pods::stages::namespaces::unpin_all(context, pod).await?;
    tokio::task::spawn_blocking(move || files::remove_tree(&bundle))
        .await
        .unwrap_or_else(|bug| Err(std::io::Error::other(bug)))
        .map_err(|e| {
            PodError::step(format!("remove bundle of pod {}", pod.id), FaultKind::Internal, e)
        })
}

async fn end(context: &Context, pod: &PodRecord, shim: Option<&PodShim>) -> Result<(), PodError> {
    let ended = match shim.filter(|shim| !shim.client.is_closed()) {
        Some(shim) => shut_down(context, pod, shim).await,
        None => Err(None),
    };
    let Err(error) = ended else { return Ok(()) };
    if let Some(error) = error {
        tracing::warn!(pod = %pod.id, %error, "shim does not end by itself");
    }
    end_by_force(context, pod).await
}

/// Asks the shim to end, and sees to it that its socket goes: the shim removes it only after its
/// answer.
async fn shut_down(
    context: &Context,
    pod: &PodRecord,
    shim: &PodShim,
) -> Result<(), Option<ShimError>> {
    let limit = context.limits.shim_call;
    let grace = std::time::Duration::ZERO;
    gone_is_fine(shim.client.stop_sandbox(&pod.id, grace, limit).await)?;
    gone_is_fine(shim.client.shutdown_sandbox(&pod.id, limit).await)?;
    remove_socket(context, &shim.record);
    Ok(())
}

async fn end_by_force(context: &Context, pod: &PodRecord) -> Result<(), PodError> {
    let bundle = context.layout.sandbox_bundle(&pod.id);
    if !bundle.exists() {
        return Ok(());
    }
    if let Some(shim) = &pod.shim {
        context.kill_shim(shim).await;
        remove_socket(context, shim);
    }
    let binary = pod.shim.as_ref().map_or_else(
        || context.handlers.choose_or_default(&pod.handler).shim.clone(),
        |shim| shim.binary.clone(),
    );
    let launch = context.launch(&binary, pod.id.as_str(), &bundle);
    match context.launcher.delete(&launch, context.limits.runtime).await {
        Ok(_) => Ok(()),
        Err(e) => Err(PodError::shim(format!("delete sandbox {}", pod.id), e)),
    }
}

/// A shim removes its socket when it ends by itself; a killed one cannot. Only a socket in a
/// directory of shims' sockets is removed: crisp's own, or the one that shims of others are built
/// with.
pub fn remove_socket(context: &Context, shim: &ShimRecord) {
    let path = shim.address.strip_prefix("unix://").map(Path::new);
    let dirs = [context.layout.sockets(), THEIRS.into()];
    let is_theirs = |path: &&Path| dirs.iter().any(|dir| path.starts_with(dir));
    let Some(path) = path.filter(is_theirs) else { return };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(socket = %path.display(), %error, "socket of a dead shim is left");
        }
        _ => {}
    }
}
