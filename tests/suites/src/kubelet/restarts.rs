// SPDX-License-Identifier: Apache-2.0
//! What the kubelet makes of containers that end or never begin.

use anyhow::Result;
use crisp_conformance::want::{contains, equal};
use serde_json::{Value, json};

use super::{
    manifest::{pod, shell},
    site::{Site, container},
};

/// Each attempt has a container of its own, and the last one's code is told.
pub async fn a_crashing_container_is_restarted_with_backoff(site: &Site) -> Result<()> {
    let pod = site.apply(&pod(
        "crashing",
        json!({
            "containers": [shell("main", "echo attempt; sleep 0.3; exit 3", json!({}))],
        }),
    ))?;
    let backing_off = |pod: &Value| {
        let main = container(pod, "main");
        main["restartCount"].as_u64() >= Some(1)
            && main["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    };
    let seen = pod.until("in backoff after a restart", backing_off).await?;
    let last = &container(&seen, "main")["lastState"]["terminated"];
    equal("exit code", &last["exitCode"], &json!(3))?;
    equal("reason", &last["reason"], &json!("Error"))?;
    pod.remove().await
}

/// The kubelet hears of it from crisp, in the reason.
pub async fn a_container_out_of_memory_says_so(site: &Site) -> Result<()> {
    let pod = site.apply(&pod(
        "oom",
        json!({
            "restartPolicy": "Never",
            "containers": [shell("main", "exec tail /dev/zero", json!({
                "resources": { "limits": { "memory": "24Mi" } },
            }))],
        }),
    ))?;
    let seen = pod.phase("Failed").await?;
    let end = &container(&seen, "main")["state"]["terminated"];
    equal("reason", &end["reason"], &json!("OOMKilled"))?;
    equal("exit code", &end["exitCode"], &json!(137))?;
    pod.remove().await
}

/// All fine is Succeeded, one code that is not 0 is Failed; a message on file is told.
pub async fn a_pod_that_never_restarts_reaches_its_phase(site: &Site) -> Result<()> {
    let script = "echo why > /dev/termination-log; exit 7";
    let once = |name: &str, script: &str| {
        pod(
            name,
            json!({
                "restartPolicy": "Never", "containers": [shell("main", script, json!({}))],
            }),
        )
    };
    let fine = site.apply(&once("fine", "exit 0"))?;
    let bad = site.apply(&once("bad", script))?;
    fine.phase("Succeeded").await?;
    let seen = bad.phase("Failed").await?;
    let end = &container(&seen, "main")["state"]["terminated"];
    equal("exit code", &end["exitCode"], &json!(7))?;
    equal("message", &end["message"], &json!("why\n"))?;
    fine.remove().await?;
    bad.remove().await
}

/// The message names the image.
pub async fn an_image_that_is_not_there_is_named_in_the_status(site: &Site) -> Result<()> {
    let image = "registry.k8s.io/crisp/not-there:1";
    let pod = site.apply(&pod(
        "no-image",
        json!({
            "containers": [shell("main", "true", json!({ "image": image }))],
        }),
    ))?;
    let pulling =
        |pod: &Value| container(pod, "main")["state"]["waiting"]["reason"] == "ErrImagePull";
    let seen = pod.until("ErrImagePull", pulling).await?;
    let message = container(&seen, "main")["state"]["waiting"]["message"].to_string();
    contains("message", &message, "crisp/not-there")?;
    pod.remove().await
}
