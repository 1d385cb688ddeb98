// SPDX-License-Identifier: Apache-2.0
//! The volumes that a kubelet can make without an API server.

use std::fs;

use anyhow::Result;
use crisp_conformance::want::{contains, equal, so};
use serde_json::json;

use super::{
    manifest::{pod, shell},
    site::Site,
};

/// What one container writes another reads; memory is a tmpfs of the size asked for.
pub async fn an_empty_dir_is_shared_and_one_in_memory_has_its_size(site: &Site) -> Result<()> {
    let mounts = json!({ "volumeMounts": [
        { "name": "disk", "mountPath": "/disk" },
        { "name": "memory", "mountPath": "/memory" },
        { "name": "disk", "mountPath": "/sub", "subPath": "below" },
    ] });
    let reader = "until [ -e /sub/word ]; do sleep 0.1; done; cat /disk/below/word; \
                  grep ' /memory ' /proc/mounts; df -k /memory | tail -n 1; echo end";
    let pod = site.apply(&pod(
        "empty-dir",
        json!({
            "restartPolicy": "Never",
            "volumes": [
                { "name": "disk", "emptyDir": {} },
                { "name": "memory", "emptyDir": { "medium": "Memory", "sizeLimit": "8Mi" } },
            ],
            "containers": [
                shell("writer", "echo shared > /sub/half; mv /sub/half /sub/word", mounts.clone()),
                shell("reader", reader, mounts),
            ],
        }),
    ))?;
    pod.phase("Succeeded").await?;
    let said = pod.out("reader")?;
    equal("what was shared", said[0].as_str(), "shared")?;
    contains("mount in memory", &said[1], "tmpfs")?;
    contains("size in memory", &said[2], "8192")?;
    pod.remove().await
}

/// Directories and files of the host, and the kinds that must or may be there.
pub async fn host_paths_are_seen_and_read_only_ones_cannot_be_written(site: &Site) -> Result<()> {
    let dir = site.host_dir("host-path")?;
    fs::write(dir.join("file"), "of the host")?;
    let made = dir.join("made");
    let script = "cat /file; echo; touch /dir/x; touch /ro/y || echo refused";
    let pod = site.apply(&pod(
        "host-path",
        json!({
            "restartPolicy": "Never",
            "volumes": [
                { "name": "file", "hostPath": { "path": dir.join("file"), "type": "File" } },
                { "name": "dir", "hostPath": { "path": made, "type": "DirectoryOrCreate" } },
            ],
            "containers": [shell("main", script, json!({ "volumeMounts": [
                { "name": "file", "mountPath": "/file" },
                { "name": "dir", "mountPath": "/dir" },
                { "name": "dir", "mountPath": "/ro", "readOnly": true },
            ] }))],
        }),
    ))?;
    pod.phase("Succeeded").await?;
    equal("what it saw", pod.out("main")?, ["of the host", "refused"].map(str::to_owned))?;
    so("it wrote to the host", made.join("x").exists(), &made)?;
    so("it did not write where it must not", !made.join("y").exists(), &made)?;
    pod.remove().await
}

/// Names, addresses and limits of the pod, in its environment and in files.
pub async fn the_downward_api_fills_environment_and_files(site: &Site) -> Result<()> {
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let limit = |name: &str, resource: &str| json!({ "name": name, "valueFrom": { "resourceFieldRef": { "resource": resource } } });
    let script = "echo $NAME $NODE; [ $POD_IP = $(hostname -i) ] && echo same address; \
                  echo $MEMORY $CPU; cat /info/labels";
    let mut pod_here = pod(
        "downward",
        json!({
            "restartPolicy": "Never",
            "volumes": [
                { "name": "info", "downwardAPI": { "items": [
                    { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } },
                ] } },
            ],
            "containers": [shell("main", script, json!({
                "env": [
                    field("NAME", "metadata.name"), field("NODE", "spec.nodeName"),
                    field("POD_IP", "status.podIP"),
                    limit("MEMORY", "limits.memory"), limit("CPU", "limits.cpu"),
                ],
                "resources": { "limits": { "memory": "64Mi", "cpu": "2" }, "requests": { "cpu": "10m" } },
                "volumeMounts": [
                    { "name": "info", "mountPath": "/info" },
                ],
            }))],
        }),
    );
    pod_here["metadata"]["labels"] = json!({ "app": "crisp" });
    let pod = site.apply(&pod_here)?;
    pod.phase("Succeeded").await?;
    let wanted = ["downward-node node", "same address", "67108864 2", "app=\"crisp\""];
    equal("what it was told", pod.out("main")?, wanted.map(str::to_owned))?;
    pod.remove().await
}
