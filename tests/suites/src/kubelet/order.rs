// SPDX-License-Identifier: Apache-2.0
//! Which container of a pod starts and ends when.

use anyhow::Result;
use crisp_conformance::want::{equal, so};
use serde_json::json;

use super::{
    manifest::{pod, shell},
    site::{Site, container},
};

/// Each init container ends before the next starts; a failed one is run again.
pub async fn init_containers_run_one_after_the_other_and_first(site: &Site) -> Result<()> {
    let mounts = json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    let flaky = "echo second >> /v/order; [ -e /v/tried ] || { touch /v/tried; exit 1; }";
    let pod = site.apply(&pod(
        "init",
        json!({
            "restartPolicy": "OnFailure",
            "volumes": [{ "name": "v", "emptyDir": {} }],
            "initContainers": [
                shell("first", "sleep 0.5; echo first >> /v/order", mounts.clone()),
                shell("second", flaky, mounts.clone()),
            ],
            "containers": [shell("main", "cat /v/order", mounts)],
        }),
    ))?;
    let seen = pod.phase("Succeeded").await?;
    equal("order of starts", pod.out("main")?, ["first", "second", "second"].map(str::to_owned))?;
    equal("restarts of the first", &container(&seen, "first")["restartCount"], &json!(0))?;
    equal("restarts of the second", &container(&seen, "second")["restartCount"], &json!(1))?;
    pod.remove().await
}

/// An init container that restarts always runs beside the others and is ended last.
pub async fn a_sidecar_starts_before_the_main_container_and_ends_after_it(
    site: &Site,
) -> Result<()> {
    let mounts = json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    let sidecar = "trap 'echo asked after $(cat /v/main); exit 0' TERM; touch /v/up; \
                   while :; do sleep 0.1; done";
    let mut beside = mounts.clone();
    beside["restartPolicy"] = json!("Always");
    beside["startupProbe"] = json!({
        "exec": { "command": ["test", "-e", "/v/up"] }, "periodSeconds": 1, "failureThreshold": 30,
    });
    let pod = site.apply(&pod(
        "sidecar",
        json!({
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 20,
            "volumes": [{ "name": "v", "emptyDir": {} }],
            "initContainers": [shell("beside", sidecar, beside)],
            "containers": [shell("main", "ls /v; sleep 1; echo done > /v/main", mounts)],
        }),
    ))?;
    let seen = pod.phase("Succeeded").await?;
    equal("what the main container found", pod.out("main")?, ["up".to_owned()])?;
    let said = pod.wrote("beside", "asked after").await?;
    equal("what the sidecar found", said, ["asked after done".to_owned()])?;
    let exit = &container(&seen, "beside")["state"]["terminated"]["exitCode"];
    so("the sidecar ended by itself", *exit == json!(0), &seen)?;
    pod.remove().await
}
