// SPDX-License-Identifier: Apache-2.0
//! Stage: the sandbox as shims of others want it, a container. Its root filesystem is crisp's own:
//! one small program that waits. The pod's ipc, uts and pid namespaces are the container's, pinned
//! from its process; those of a virtual machine stay in there.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use crisp_podio::SandboxOptions;
use crisp_words::{ContainerId, bundle};
use tokio::time::{Instant, sleep, timeout};

use super::{pod_files, sandbox::remove_socket};
use crate::{
    cgroups::ContainerCgroup,
    containers::{
        create::{abilities, profile},
        oci_spec::{self, HandlerPolicy, NamespacePaths, PodFiles, SandboxInput},
    },
    files,
    network::netns,
    pods::{
        context::Context,
        error::{FaultKind, PodError},
        handler::Handler,
        members,
        record::PodRecord,
        shim::{PodShim, gone_is_fine, runtime_limit},
        spec::{PidSharing, Sharing},
        variant::Variant,
    },
    shims::{
        CreateTask, IoHelper, KillScope, Options, ShimClient, ShimError, StdioAddresses, TaskRef,
    },
};

/// Pause before a shim is asked once more to delete what it says is not ready to be.
const AGAIN: std::time::Duration = std::time::Duration::from_millis(50);

/// Completes the sandbox's bundle: shims read it in their `start` already.
///
/// # Errors
/// [`PodError`] naming the pod.
pub async fn write_bundle(
    context: &Context,
    pod: &PodRecord,
    handler: &Handler,
    variant: &Variant,
) -> Result<(), PodError> {
    let spec = spec(context, pod, handler, variant).await?;
    let text = serde_json::to_vec(&spec).map_err(|e| failed(pod, "write spec", e))?;
    let (dir, init) = (context.layout.sandbox_bundle(&pod.id), variant.init.clone());
    let written = tokio::task::spawn_blocking(move || write(&dir, &text, &init));
    written
        .await
        .unwrap_or_else(|bug| Err(std::io::Error::other(bug)))
        .map_err(|e| failed(pod, "write bundle", e))
}

fn write(dir: &Path, spec: &[u8], init: &[u8]) -> std::io::Result<()> {
    let rootfs = dir.join(bundle::ROOTFS);
    for point in oci_spec::mount_points() {
        files::make_dir(&rootfs.join(point), 0o755)?;
    }
    for file in ["resolv.conf", "hostname", "hosts"] {
        fs::write(rootfs.join("etc").join(file), "")?;
    }
    let program = rootfs.join(oci_spec::PROGRAM.trim_start_matches('/'));
    fs::write(&program, init)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    fs::write(dir.join(bundle::CONFIG), spec)
}

async fn spec(
    context: &Context,
    pod: &PodRecord,
    handler: &Handler,
    variant: &Variant,
) -> Result<::oci_spec::runtime::Spec, PodError> {
    let config = &pod.config;
    let pins = context.layout.namespaces(&pod.id);
    let made = NamespacePaths {
        net: (config.namespaces.network == Sharing::Pod).then(|| pins.join("net")),
        user: config.namespaces.user.is_some().then(|| pins.join("user")),
        ..NamespacePaths::default()
    };
    let files = pod_files::paths(context, pod);
    let pod_files = PodFiles {
        resolv_conf: Some(files.resolv_conf),
        hostname: Some(files.hostname),
        hosts: None,
        shm: Some(files.shm),
    };
    let wanted = profile(context, handler, &config.seccomp);
    let seccomp = tokio::task::spawn_blocking(move || crate::containers::seccomp::load(&wanted))
        .await
        .map_err(|bug| failed(pod, "read seccomp profile", bug))?
        .map_err(|e| PodError::step(format!("make pod {}", pod.id), FaultKind::Invalid, e))?;
    let input = SandboxInput {
        pod: config,
        pod_id: &pod.id,
        host: &context.host,
        runtime: &abilities(handler),
        policy: &HandlerPolicy {
            annotations: variant.preset.annotations,
            ..HandlerPolicy::default()
        },
        made,
        hostname: &pod_files::hostname(pod),
        pod_files: &pod_files,
        rootfs: &context.layout.sandbox_bundle(&pod.id).join(bundle::ROOTFS),
        cgroups_path: &cgroup(context, pod)?.for_runtime,
        seccomp: &seccomp,
        handler_annotations: &variant.allowed(&config.annotations),
    };
    oci_spec::generate_sandbox(&input)
        .map_err(|e| PodError::step(format!("make pod {}", pod.id), FaultKind::Invalid, e))
}

/// Starts the process that serves the streams of the pod's containers, or finds it again.
///
/// # Errors
/// [`ShimError`].
pub async fn io_helper(
    context: &Context,
    pod: &PodRecord,
    limit: std::time::Duration,
) -> Result<IoHelper, ShimError> {
    let bundle = context.layout.sandbox_bundle(&pod.id);
    let mut options = SandboxOptions::new();
    options.shim_cgroup = context.shim_cgroup(pod);
    let options = Options::crisp_sandbox(&options);
    let mut launch = context.launch(context.handlers.own_shim(), pod.id.as_str(), &bundle);
    launch.options = Some(&options);
    context.launcher.io_helper(&launch, limit).await
}

/// Ends that process. One that no daemon knows any more is found first.
async fn end_io_helper(context: &Context, pod: &PodRecord, shim: Option<&PodShim>) {
    let limit = context.limits.shim_call;
    let helper = match shim.and_then(|shim| shim.helper.clone()) {
        Some(helper) => Ok(helper),
        None if !context.layout.sandbox_bundle(&pod.id).exists() => return,
        None => io_helper(context, pod, limit).await,
    };
    match helper {
        Ok(helper) => helper.shutdown(limit).await,
        Err(error) => tracing::warn!(pod = %pod.id, %error, "I/O helper is not ended"),
    }
}

/// Makes and starts the sandbox container. The pod's network and files are there.
///
/// # Errors
/// [`PodError`] naming the pod.
pub async fn create(
    context: &Context,
    pod: &PodRecord,
    variant: &Variant,
    shim: &PodShim,
) -> Result<(), PodError> {
    let refused = |e| PodError::shim(format!("create sandbox {}", pod.id), e);
    let task = TaskRef::sandbox(&pod.id);
    let create = CreateTask {
        task,
        bundle: &context.layout.sandbox_bundle(&pod.id),
        stdio: StdioAddresses::default(),
        rootfs: Vec::new(),
        options: variant.options.clone(),
    };
    let limit = runtime_limit(&context.limits);
    shim.client.create(create, limit).await.map_err(refused)?;
    let pid = shim.client.start(task, limit).await.map_err(refused)?;
    match variant.is_transparent() {
        true => pin(context, pod, pid).await,
        false => Ok(()),
    }
}

/// Pins the namespaces that the sandbox container was made with.
async fn pin(context: &Context, pod: &PodRecord, pid: u32) -> Result<(), PodError> {
    let wanted = &pod.config.namespaces;
    let pins = context.layout.namespaces(&pod.id);
    let all = [
        ("ipc", wanted.ipc == Sharing::Pod),
        ("uts", wanted.network == Sharing::Pod),
        ("pid", wanted.pid == PidSharing::Pod),
    ];
    for (name, _) in all.into_iter().filter(|(_, own)| *own) {
        let held = format!("/proc/{pid}/ns/{name}").into();
        let pinned = netns::hold(held, pins.join(name)).await;
        pinned.map_err(|e| failed(pod, "pin namespaces", e))?;
    }
    Ok(())
}

/// Ends the sandbox container and its shim. What a shim that is gone or fails leaves is ended by
/// its cgroup and by the shim's own `delete` verb.
///
/// # Errors
/// [`PodError`] when processes of the sandbox outlive all that.
pub async fn end(
    context: &Context,
    pod: &PodRecord,
    shim: Option<&PodShim>,
) -> Result<(), PodError> {
    let ended = end_sandbox(context, pod, shim).await;
    end_io_helper(context, pod, shim).await;
    ended
}

async fn end_sandbox(
    context: &Context,
    pod: &PodRecord,
    shim: Option<&PodShim>,
) -> Result<(), PodError> {
    let task = TaskRef::sandbox(&pod.id);
    if let Some(shim) = shim.filter(|shim| !shim.client.is_closed()) {
        let ended = end_task(context, &shim.client, task).await;
        if let Err(error) = &ended {
            tracing::warn!(pod = %pod.id, %error, "sandbox does not end by itself");
        }
        let client = ended.is_ok().then_some(&shim.client);
        members::end(context, client, &shim.record, task).await;
        if ended.is_ok() {
            return remove_cgroup(context, pod).await;
        }
    }
    by_force(context, pod).await
}

async fn by_force(context: &Context, pod: &PodRecord) -> Result<(), PodError> {
    if let Some(shim) = &pod.shim {
        context.kill_shim(shim).await;
        remove_socket(context, shim);
    }
    let cgroup = cgroup(context, pod)?;
    context.cgroups.kill(&cgroup.path).await.map_err(|e| failed(pod, "end sandbox", e))?;
    let bundle = context.layout.sandbox_bundle(&pod.id);
    if bundle.join(bundle::CONFIG).exists() {
        let shim = context.shim_of(&pod.id);
        let launch = context.launch(&shim, pod.id.as_str(), &bundle);
        // All that runs has been ended; what the shim keeps elsewhere is its own.
        if let Err(error) = context.launcher.delete(&launch, context.limits.runtime).await {
            tracing::warn!(pod = %pod.id, %error, "shim does not delete its sandbox");
        }
    }
    remove_cgroup(context, pod).await
}

async fn remove_cgroup(context: &Context, pod: &PodRecord) -> Result<(), PodError> {
    let (cgroups, cgroup) = (context.cgroups.clone(), cgroup(context, pod)?);
    let removed = tokio::task::spawn_blocking(move || cgroups.remove(&cgroup.path)).await;
    match removed {
        Ok(removed) => removed.map_err(|e| failed(pod, "remove cgroup of sandbox", e)),
        Err(bug) => Err(failed(pod, "remove cgroup of sandbox", bug)),
    }
}

/// The cgroup of the sandbox container, in its pod's.
fn cgroup(context: &Context, pod: &PodRecord) -> Result<ContainerCgroup, PodError> {
    let id = ContainerId::new(pod.id.as_str()).map_err(|e| failed(pod, "name cgroup", e))?;
    Ok(context.cgroups.container(&pod.cgroup.path, &id))
}

/// Kills a task of another's shim, waits for its end and lets the shim forget it.
///
/// # Errors
/// [`ShimError`] of the step that failed. A task that is not there has ended.
pub async fn end_task(
    context: &Context,
    client: &ShimClient,
    task: TaskRef<'_>,
) -> Result<(), ShimError> {
    let limits = &context.limits;
    let kill = libc::SIGKILL.unsigned_abs();
    let killed = client.kill(task, kill, KillScope::Container, limits.shim_call).await;
    // Not every shim says "not found" of a process that has ended: what counts is the wait.
    match (gone_is_fine(killed), timeout(limits.kill, client.wait(task)).await) {
        (Err(error), Err(_)) => return Err(error),
        (Ok(()), Err(_)) => {
            let (shim, call) = (client.address().to_owned(), "Wait after SIGKILL".to_owned());
            return Err(ShimError::Deadline { shim, call, after: limits.kill });
        }
        (_, Ok(Err(error))) if !error.is_not_found() => return Err(error),
        (_, Ok(_)) => {}
    }
    delete_task(context, client, task).await
}

/// Lets the shim forget a task that has ended. Kata tells an exit before it is ready to: it is
/// asked again for a while.
///
/// # Errors
/// [`ShimError`]. A task that is not there is forgotten.
pub async fn delete_task(
    context: &Context,
    client: &ShimClient,
    task: TaskRef<'_>,
) -> Result<(), ShimError> {
    let limit = runtime_limit(&context.limits);
    let until = Instant::now() + context.limits.kill;
    loop {
        match client.delete(task, limit).await {
            Ok(_) | Err(ShimError::NotFound { .. }) => return Ok(()),
            Err(ShimError::Refused { .. }) if Instant::now() < until => sleep(AGAIN).await,
            Err(error) => return Err(error),
        }
    }
}

fn failed(
    pod: &PodRecord,
    what: &str,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> PodError {
    PodError::step(format!("{what} of pod {}", pod.id), FaultKind::Internal, cause)
}
