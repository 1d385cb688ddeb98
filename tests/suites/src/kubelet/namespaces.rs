// SPDX-License-Identifier: Apache-2.0
//! Which namespaces a pod shares with the host and its containers with each other.

use std::fs;

use anyhow::Result;
use crisp_conformance::want::{equal, so, within};
use serde_json::json;

use super::{
    http,
    manifest::{SLEEP, agnhost, pod, shell},
    site::{SOON, Site},
};

/// One sees the other's processes, and none of them is process 1.
pub async fn containers_that_share_a_pid_namespace_see_each_other(site: &Site) -> Result<()> {
    let script = "until ps | grep -q '[s]leep 12345'; do sleep 0.1; done; echo seen; echo pid $$";
    let pod = site.apply(&pod(
        "shared-pid",
        json!({
            "shareProcessNamespace": true,
            "containers": [
                shell("seen", "exec sleep 12345", json!({})),
                shell("sees", &format!("{script}; {SLEEP}"), json!({})),
            ],
        }),
    ))?;
    let said = pod.wrote("sees", "pid ").await?;
    equal("what it saw", said[0].as_str(), "seen")?;
    so("it is not process 1", said[1] != "pid 1", &said)?;
    pod.remove().await
}

/// Same network namespace, same name, and the node's address.
pub async fn a_pod_on_the_host_network_has_the_hosts(site: &Site) -> Result<()> {
    let pod = site.apply(&pod("host-network", json!({
        "hostNetwork": true,
        "containers": [shell("main", &format!("readlink /proc/self/ns/net; {SLEEP}"), json!({}))],
    })))?;
    let seen = pod.ready().await?;
    let said = pod.wrote("main", "net:").await?;
    let ours = fs::read_link("/proc/self/ns/net")?;
    equal("network namespace", said[0].as_str(), &*ours.to_string_lossy())?;
    equal("address", &seen["status"]["podIP"], &seen["status"]["hostIP"])?;
    pod.remove().await
}

/// Root within is no one outside, also for files of volumes.
pub async fn a_user_namespace_maps_root_to_nobody_of_the_host(site: &Site) -> Result<()> {
    let script = format!("id -u; cat /proc/self/uid_map; touch /v/f; stat -c %u /v/f; {SLEEP}");
    let pod = site.apply(&pod("userns", json!({
        "hostUsers": false,
        "volumes": [{ "name": "v", "emptyDir": {} }],
        "containers": [
            shell("main", &script, json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] })),
        ],
    })))?;
    pod.ready().await?;
    within(SOON, "three lines", || async {
        let said = pod.out("main").unwrap_or_default();
        Ok(if said.len() == 3 { Ok(()) } else { Err(format!("{said:?}")) })
    })
    .await?;
    let said = pod.out("main")?;
    equal("its user", said[0].as_str(), "0")?;
    let map: Vec<u64> = said[1].split_whitespace().filter_map(|n| n.parse().ok()).collect();
    so(
        "65536 users from a number that is not 0",
        map[0] == 0 && map[1] >= 65536 && map[2] == 65536,
        &map,
    )?;
    equal("owner of its file, within", said[2].as_str(), "0")?;
    pod.remove().await
}

/// From the node itself.
pub async fn a_host_port_leads_to_the_pod(site: &Site) -> Result<()> {
    let pod = site.apply(&pod("host-port", json!({
        "containers": [agnhost("main", &["netexec", "--http-port=8080", "--udp-port=-1"], json!({
            "ports": [{ "containerPort": 8080, "hostPort": 18080 }],
        }))],
    })))?;
    pod.ready().await?;
    let name = within(SOON, "an answer on the host port", || async {
        Ok(http::get(18080, "/hostname").await.map_err(|error| format!("{error:#}")))
    })
    .await?;
    equal("who answers", name.as_str(), "host-port-node")?;
    pod.remove().await?;
    so("nobody answers when the pod is gone", http::get(18080, "/hostname").await.is_err(), ())
}
