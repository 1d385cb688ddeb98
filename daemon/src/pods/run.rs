// SPDX-License-Identifier: Apache-2.0
//! RunPodSandbox: the stages in order, what can overlap overlapping.
//!
//! ```text
//!  record ─▶ namespaces ─┬─▶ CNI ADD ─────────────────────┬─▶ hosts file ─▶ ready
//!                        ├─▶ cgroup ─▶ shim ─▶ sandbox ───┤
//!                        └─▶ resolv.conf, shm ────────────┘
//! ```
//!
//! For shims of others the sandbox is a container, made when all three have ended. Plugins are
//! asked last, before the sandbox counts as ready.

use std::net::IpAddr;

use super::{
    context::Context,
    error::{FaultKind, PodError},
    handler::{Engine, Handler},
    record::{PodPhase, PodRecord},
    shim::PodShim,
    stages::{cgroup, namespaces, network, pod_files, sandbox, sandbox_container},
    teardown::{self, Left},
};
use crate::{files, nri};

/// A sandbox that could not be made.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub error: PodError,
    /// What of the host could not be put back; empty when nothing is left of the sandbox.
    pub left: Vec<Left>,
}

/// Makes the sandbox of `record`, or leaves the host as it was. It is to be shown before the
/// passage is dropped.
///
/// # Errors
/// [`Failed`]: the first error, and what the undo could not put back.
pub async fn run(
    context: &Context,
    record: &mut PodRecord,
    handler: &Handler,
) -> Result<(PodShim, nri::Passage), Failed> {
    let made = make(context, record, handler).await;
    let (error, shim) = match made {
        Ok(shim) => match announce(context, record, &shim).await {
            Ok(passage) => return Ok((shim, passage)),
            Err(error) => (error, Some(shim)),
        },
        Err((error, shim)) => (error, shim),
    };
    record.shim = shim.as_ref().map(|shim| shim.record.clone());
    let mut left = teardown::teardown(context, record, shim.as_ref()).await;
    if left.is_empty()
        && let Err(error) = teardown::erase(context, record).await
    {
        left.push(Left::from(error));
    }
    Err(Failed { error, left })
}

async fn make(
    context: &Context,
    record: &mut PodRecord,
    handler: &Handler,
) -> Result<PodShim, (PodError, Option<PodShim>)> {
    begin(context, record).map_err(|e| (e, None))?;
    namespaces::set_up(context, record).await.map_err(|e| (e, None))?;
    let pod = &*record;
    let (addresses, shim, written) = tokio::join!(
        network::set_up(context, pod),
        begin_sandbox(context, pod, handler),
        pod_files::set_up(context, pod),
    );
    let shim = shim?;
    let made = match addresses.and_then(|ips| written.map(|()| ips)) {
        Ok(ips) => finish_sandbox(context, pod, handler, &shim).await.map(|()| ips),
        Err(error) => Err(error),
    };
    match made {
        Ok(ips) => {
            record.ips = ips;
            Ok(shim)
        }
        Err(error) => Err((error, Some(shim))),
    }
}

/// Makes the pod's directory and writes its record before anything else of the host changes.
fn begin(context: &Context, record: &PodRecord) -> Result<(), PodError> {
    // The shim's containers reach the files below it from user namespaces.
    files::make_dir(&context.layout.pod(&record.id), 0o711)
        .and_then(|()| files::make_dir(&context.layout.namespaces(&record.id), 0o711))
        .map_err(|e| {
            PodError::step(format!("make directory of pod {}", record.id), FaultKind::Internal, e)
        })?;
    context.write_pod(record)
}

/// What of the sandbox can be made beside its network.
async fn begin_sandbox(
    context: &Context,
    pod: &PodRecord,
    handler: &Handler,
) -> Result<PodShim, (PodError, Option<PodShim>)> {
    cgroup::set_up(context, pod).await.map_err(|e| (e, None))?;
    let shim = sandbox::start_shim(context, pod, handler).await.map_err(|e| (e, None))?;
    let made = match &handler.engine {
        Engine::Oci(runtime) => sandbox::create(context, pod, runtime, &shim).await,
        Engine::Shim(_) => Ok(()),
    };
    match made {
        Ok(()) => Ok(shim),
        Err(error) => Err((error, Some(shim))),
    }
}

/// What needs the pod's interfaces and files: a virtual machine takes them over as it boots.
async fn finish_sandbox(
    context: &Context,
    pod: &PodRecord,
    handler: &Handler,
    shim: &PodShim,
) -> Result<(), PodError> {
    match handler.variant() {
        Some(variant) => sandbox_container::create(context, pod, variant, shim).await,
        None => Ok(()),
    }
}

/// Tells plugins of the sandbox, then takes it for ready.
async fn announce(
    context: &Context,
    record: &mut PodRecord,
    shim: &PodShim,
) -> Result<nri::Passage, PodError> {
    let passage = nri::run_pod(context, record).await.map_err(|error| {
        PodError::step(format!("run pod {}", record.id), FaultKind::Denied, error)
    })?;
    if let Err(error) = finish(context, record, shim) {
        nri::undo_pod(context, record, passage).await;
        return Err(error);
    }
    Ok(passage)
}

fn finish(context: &Context, record: &mut PodRecord, shim: &PodShim) -> Result<(), PodError> {
    record.shim = Some(shim.record.clone());
    pod_files::write_hosts(context, record)?;
    record.phase = PodPhase::Ready;
    context.write_pod(record)
}

/// What a successful run gave a pod.
pub type Addresses = Vec<IpAddr>;
