// SPDX-License-Identifier: Apache-2.0
//! Version, Status, RuntimeConfig, UpdateRuntimeConfig.

use std::collections::BTreeSet;

use anyhow::Context as _;
use crisp_cri::*;
use futures::future::try_join_all;

use crate::case::{Outcome, cases};
use crate::fixture::Test;
use crate::want::{equal, so};

cases! { "info";
    "Version has all its fields, whatever version was asked" => version,
    "Status says RuntimeReady and NetworkReady" => conditions,
    "Status lists handlers by unique names, the default one by the empty name" => handlers,
    "Status has features" => features,
    "verbose Status has info, plain Status has none" => verbose,
    "RuntimeConfig names a cgroup driver" => runtime_config,
    "UpdateRuntimeConfig takes a pod CIDR and an empty one" => update,
    "UpdateRuntimeConfig without a config succeeds" => update_nothing,
    "200 probes at once are all answered" => probes,
}

async fn version(t: Test) -> Outcome {
    for asked in ["", "v1", "0.1.0", "v99"] {
        let request = VersionRequest { version: asked.to_owned() };
        let version = t.cri().version(request).await?;
        equal("runtime_api_version", version.runtime_api_version.as_str(), "v1")?;
        so("version is set", !version.version.is_empty(), &version)?;
        so("runtime_name is set", !version.runtime_name.is_empty(), &version)?;
        let semantic = version.runtime_version.trim_start_matches('v').split('.').count() >= 3;
        so("runtime_version is like v1.2.3", semantic, &version)?;
    }
    Ok(())
}

async fn conditions(t: Test) -> Outcome {
    let status = t.cri().status(StatusRequest { verbose: false }).await?;
    let status = status.status.context("Status: status is unset")?;
    for wanted in ["RuntimeReady", "NetworkReady"] {
        let condition = status.conditions.iter().find(|c| c.r#type == wanted);
        let condition = condition.with_context(|| format!("Status has no condition {wanted}"))?;
        so(&format!("{wanted} is true"), condition.status, condition)?;
    }
    Ok(())
}

async fn handlers(t: Test) -> Outcome {
    let status = t.cri().status(StatusRequest { verbose: false }).await?;
    let names: Vec<_> = status.runtime_handlers.iter().map(|h| h.name.clone()).collect();
    let unique: BTreeSet<_> = names.iter().collect();
    equal("number of different names", unique.len(), names.len())?;
    so("the default handler is listed by the empty name", names.iter().any(String::is_empty), names)
}

async fn features(t: Test) -> Outcome {
    let status = t.cri().status(StatusRequest { verbose: false }).await?;
    so("Status.features is set", status.features.is_some(), status.features)
}

async fn verbose(t: Test) -> Outcome {
    let plain = t.cri().status(StatusRequest { verbose: false }).await?.info;
    so("plain Status has no info", plain.is_empty(), plain)?;
    let info = t.cri().status(StatusRequest { verbose: true }).await?.info;
    so("verbose Status has info", !info.is_empty(), &info)?;
    for (key, text) in info.iter().filter(|(_, text)| text.starts_with('{')) {
        serde_json::from_str::<serde_json::Value>(text)
            .with_context(|| format!("info {key:?} is not JSON: {text}"))?;
    }
    Ok(())
}

async fn runtime_config(t: Test) -> Outcome {
    let config = t.cri().runtime_config(RuntimeConfigRequest {}).await?;
    so("RuntimeConfig.linux is set", config.linux.is_some(), config)
}

async fn update(t: Test) -> Outcome {
    for cidr in ["10.88.99.0/24", "10.88.99.0/24,fd00:99::/64", ""] {
        let network_config = Some(NetworkConfig { pod_cidr: cidr.to_owned() });
        let runtime_config = Some(RuntimeConfig { network_config });
        t.cri().update_runtime_config(UpdateRuntimeConfigRequest { runtime_config }).await?;
    }
    // What was told is for networks to come: pods run as before.
    t.pod().await?;
    Ok(())
}

async fn update_nothing(t: Test) -> Outcome {
    t.cri().update_runtime_config(UpdateRuntimeConfigRequest { runtime_config: None }).await?;
    Ok(())
}

async fn probes(t: Test) -> Outcome {
    let probe = || async {
        t.cri().version(VersionRequest::default()).await?;
        t.cri().image_fs_info(ImageFsInfoRequest {}).await
    };
    try_join_all((0..200).map(|_| probe())).await?;
    Ok(())
}
