// SPDX-License-Identifier: Apache-2.0
//! What was there before is there after.

use std::time::Duration;

use anyhow::Result;
use crisp_conformance::want::{equal, within};
use crisp_cri::{CreateContainerRequest, RunPodSandboxRequest};

use crate::stage::Stage;

/// Same pods, same containers, same statuses, same processes, and they can still be used.
pub async fn pods_and_their_processes_go_on(stage: &mut Stage) -> Result<()> {
    let mut before = Vec::new();
    for _ in 0..3 {
        let (pod, container) = stage.pod_with_container().await?;
        let process = stage.process(&container).await?;
        let statuses = (pod.status().await?, container.status().await?);
        before.push((pod, container, process, statuses));
    }
    let created = before[0].0.create(|_| ()).await?;
    for round in 0..3 {
        stage.node.again().await?;
        for (pod, container, process, statuses) in &before {
            let now = (pod.status().await?, container.status().await?);
            equal("pod and container status", &now, statuses)?;
            equal("the container's process", stage.process(container).await?, *process)?;
            equal("output of an exec", container.sh("echo here").await?, "here")?;
        }
        equal("state of a created container", created.status().await?.state, 0)?;
        let more = before[round].0.idle().await?;
        equal("output of a new container", more.sh("echo new").await?, "new")?;
        more.stop(0).await?;
        more.remove().await?;
    }
    created.start().await?;
    equal("output of a container created before", created.sh("echo late").await?, "late")
}

/// A client that did not hear the answer asks again; it must not get a second pod or container.
pub async fn a_retry_after_the_outage_gets_the_same_answer(stage: &mut Stage) -> Result<()> {
    let config = stage.test.pod_config()?;
    let pod = stage.test.run_pod(config.clone()).await?;
    let container = pod.create(|_| ()).await?;
    forget_answers(stage, &pod.id, &container.id).await?;
    stage.node.again().await?;

    let run = RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
    let id = stage.cri().run_pod_sandbox(run).await?.pod_sandbox_id;
    equal("the pod of the retry", &id, &pod.id)?;
    let create = CreateContainerRequest {
        pod_sandbox_id: id,
        config: Some(container.config.clone()),
        sandbox_config: Some(config),
    };
    let id = stage.cri().create_container(create).await?.container_id;
    equal("the container of the retry", &id, &container.id)?;
    container.start().await?;
    equal("output of an exec", container.sh("echo here").await?, "here")
}

/// Makes the records say what they say when the daemon dies between its work and its answer. The
/// record is written after the answer.
async fn forget_answers(stage: &mut Stage, pod: &str, container: &str) -> Result<()> {
    let run = stage.node.run();
    for path in [
        run.join("pods").join(pod).join("pod.json"),
        run.join("containers").join(container).join("container.json"),
    ] {
        let changed = within(Duration::from_secs(10), "a record of the answer", || async {
            let text = std::fs::read_to_string(&path)?;
            let changed = text.replace("\"Given\"", "\"Pending\"");
            Ok(if changed == text { Err(text) } else { Ok(changed) })
        })
        .await?;
        std::fs::write(&path, changed)?;
    }
    Ok(())
}
