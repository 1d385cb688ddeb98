// SPDX-License-Identifier: Apache-2.0
//! Requests that cannot be fulfilled.

use anyhow::Result;
use crisp_conformance::{edit::EditContainer as _, edit::EditPod as _, images};
use crisp_cri::*;
use tonic::Code;

use super::{Bystander, PROMPT, fails};
use crate::{stage::Stage, traces};

/// Unknown handlers, images and ids, mount sources that are not there, contradictions.
pub async fn bad_requests_are_refused_by_name(stage: &mut Stage) -> Result<()> {
    let bystander = Bystander::new(stage).await?;
    let before = traces::all(&stage.node)?;
    bad_pods(stage).await?;
    bad_containers(stage, &bystander).await?;
    unknown_ids(stage).await?;
    bystander.unharmed(stage).await?;
    traces::none_new(&stage.node, &before).await?;
    Ok(())
}

async fn bad_pods(stage: &Stage) -> Result<()> {
    let test = &stage.test;
    let unknown = test.run_pod_by(test.pod_config()?, "no-such-handler");
    fails("handler", PROMPT, unknown, &[Code::InvalidArgument], "no-such-handler").await?;

    let mut config = test.pod_config()?;
    config.linux().sysctls.insert("kernel.no_such_knob".into(), "1".into());
    let invalid = &[Code::InvalidArgument];
    fails("sysctl", PROMPT, test.run_pod(config), invalid, "no_such_knob").await?;

    let mut config = test.pod_config()?;
    config.metadata = None;
    fails("metadata", PROMPT, test.run_pod(config), &[Code::InvalidArgument], "metadata").await
}

async fn bad_containers(stage: &Stage, bystander: &Bystander) -> Result<()> {
    let pod = &bystander.container.pod;
    let with = |edit: &dyn Fn(&mut ContainerConfig)| {
        let mut config = pod.container_config();
        edit(&mut config);
        pod.create_unpulled(config)
    };
    let call = with(&|c| c.image = Some(image("registry.k8s.io/never-pulled:1")));
    fails("image", PROMPT, call, &[Code::NotFound], "never-pulled").await?;
    let call = with(&|c| {
        c.bind(std::path::Path::new("/no/such/source"), "/mnt");
    });
    let codes = [Code::NotFound, Code::InvalidArgument, Code::FailedPrecondition];
    fails("mount source", PROMPT, call, &codes, "/no/such/source").await?;
    let call = with(&|c| {
        c.devices.push(Device {
            host_path: "/dev/no-such-device".into(),
            container_path: "/dev/x".into(),
            permissions: "rwm".into(),
        });
    });
    fails("device", PROMPT, call, &codes, "no-such-device").await?;
    let call = with(&|c| c.capabilities().add_capabilities.push("CAP_NO_SUCH".into()));
    fails("capability", PROMPT, call, &codes, "NO_SUCH").await?;
    let call = with(&|c| {
        c.security().run_as_username = "no-such-user".into();
    });
    let codes = [Code::InvalidArgument, Code::NotFound, Code::FailedPrecondition];
    fails("user", PROMPT, call, &codes, "no-such-user").await?;

    // What only the start finds out: the container is there, and tells why it did not run.
    let codes = [Code::NotFound, Code::InvalidArgument, Code::Internal, Code::FailedPrecondition];
    let missing = pod.create(|c| c.command(&["/no-such-program"])).await;
    let started = match missing {
        Ok(container) => container.start().await,
        Err(error) => Err(error),
    };
    fails("program", PROMPT, async { started }, &codes, "no-such-program").await?;
    stage.test.ensure_image(images::BUSYBOX).await?;
    // The container that could not be started is still there, and goes when it is removed.
    for container in pod.containers().await? {
        if container.id != bystander.container.id {
            let request = RemoveContainerRequest { container_id: container.id };
            stage.cri().remove_container(request).await?;
        }
    }
    Ok(())
}

async fn unknown_ids(stage: &Stage) -> Result<()> {
    let cri = stage.cri();
    let id = "feedfeedfeed".to_owned();
    let not_found = &[Code::NotFound];
    let call = cri.pod_sandbox_status(PodSandboxStatusRequest {
        pod_sandbox_id: id.clone(),
        ..Default::default()
    });
    fails("PodSandboxStatus", PROMPT, call, not_found, &id).await?;
    let call = cri.container_status(ContainerStatusRequest {
        container_id: id.clone(),
        ..Default::default()
    });
    fails("ContainerStatus", PROMPT, call, not_found, &id).await?;
    let call = cri.start_container(StartContainerRequest { container_id: id.clone() });
    fails("StartContainer", PROMPT, call, not_found, &id).await?;
    let call = cri.exec_sync(ExecSyncRequest {
        container_id: id.clone(),
        cmd: vec!["true".into()],
        timeout: 0,
    });
    fails("ExecSync", PROMPT, call, not_found, &id).await?;
    let call = cri.reopen_container_log(ReopenContainerLogRequest { container_id: id.clone() });
    fails("ReopenContainerLog", PROMPT, call, not_found, &id).await?;
    let call = cri.create_container(CreateContainerRequest {
        pod_sandbox_id: id.clone(),
        config: Some(ContainerConfig {
            metadata: Some(ContainerMetadata { name: "c".into(), attempt: 0 }),
            image: Some(image(images::BUSYBOX)),
            ..Default::default()
        }),
        sandbox_config: Some(stage.test.pod_config()?),
    });
    fails("CreateContainer", PROMPT, call, not_found, &id).await
}

fn image(reference: &str) -> ImageSpec {
    ImageSpec { image: reference.to_owned(), ..Default::default() }
}
