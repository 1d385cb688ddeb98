// SPDX-License-Identifier: Apache-2.0
//! A pod's record as clients see it.

use std::collections::HashMap;

use crisp_cri as v1;
use serde_json::json;

use super::{
    report::StageReport,
    translate::{namespaces_to_cri, pod_metadata_to_cri, to_map},
};
use crate::pods::{progress::Open, record::PodRecord};

/// Whether the sandbox can be used.
pub(super) fn state(pod: &PodRecord) -> v1::PodSandboxState {
    if pod.is_ready() {
        v1::PodSandboxState::SandboxReady
    } else {
        v1::PodSandboxState::SandboxNotready
    }
}

/// The sandbox in a list.
pub(super) fn item(pod: &PodRecord) -> v1::PodSandbox {
    v1::PodSandbox {
        id: pod.id.to_string(),
        metadata: Some(pod_metadata_to_cri(&pod.config.metadata)),
        state: state(pod).into(),
        created_at: pod.created_at_ns,
        labels: to_map(&pod.config.labels),
        annotations: to_map(&pod.config.annotations),
        runtime_handler: pod.requested_handler.clone(),
    }
}

/// The sandbox's status.
pub(super) fn status(pod: &PodRecord) -> v1::PodSandboxStatus {
    let mut ips = pod.ips.iter().map(ToString::to_string);
    let ip = ips.next().unwrap_or_default();
    v1::PodSandboxStatus {
        id: pod.id.to_string(),
        metadata: Some(pod_metadata_to_cri(&pod.config.metadata)),
        state: state(pod).into(),
        created_at: pod.created_at_ns,
        network: Some(v1::PodSandboxNetworkStatus {
            ip,
            additional_ips: ips.map(|ip| v1::PodIp { ip }).collect(),
        }),
        linux: Some(v1::LinuxPodSandboxStatus {
            namespaces: Some(v1::Namespace {
                options: Some(namespaces_to_cri(&pod.config.namespaces)),
            }),
        }),
        labels: to_map(&pod.config.labels),
        annotations: to_map(&pod.config.annotations),
        runtime_handler: pod.requested_handler.clone(),
    }
}

/// What a verbose status adds, as JSON.
pub(super) fn info(
    pod: &PodRecord,
    stages: &[&Open],
    shim_version: Result<String, String>,
) -> HashMap<String, String> {
    let (version, fault) = match shim_version {
        Ok(version) => (Some(version), None),
        Err(fault) => (None, Some(fault)),
    };
    let stages: Vec<_> = stages.iter().map(|open| StageReport::from(*open)).collect();
    let info = json!({
        "handler": pod.handler,
        "phase": pod.phase,
        "pid": pod.shim.as_ref().map(|shim| shim.pid),
        "shim": pod.shim,
        "shimVersion": version,
        "shimFault": fault,
        "stages": stages,
        "cgroup": pod.cgroup,
        "config": pod.config,
    });
    HashMap::from([("info".to_owned(), info.to_string())])
}

#[cfg(test)]
pub(super) mod tests {
    use crisp_words::SandboxId;

    use super::*;
    use crate::pods::{
        record::{Answer, CgroupOwner, PodCgroup, PodPhase},
        spec::{PodConfig, PodMetadata},
    };

    pub(in crate::cri) fn pod(phase: PodPhase) -> PodRecord {
        PodRecord {
            id: SandboxId::new("p1").unwrap(),
            config: PodConfig {
                metadata: PodMetadata {
                    name: "n".into(),
                    uid: "u".into(),
                    namespace: "s".into(),
                    attempt: 2,
                },
                ..Default::default()
            },
            requested_handler: String::new(),
            handler: "crun".into(),
            created_at_ns: 5,
            phase,
            answer: Answer::Given,
            ips: Vec::new(),
            cgroup: PodCgroup { path: "/crisp/p1".into(), owner: CgroupOwner::Crisp },
            shim: None,
        }
    }

    #[test]
    fn only_a_ready_pod_is_ready() {
        for phase in [PodPhase::Stopping, PodPhase::NotReady { pending: vec![] }] {
            assert_eq!(state(&pod(phase)), v1::PodSandboxState::SandboxNotready);
        }
        assert_eq!(state(&pod(PodPhase::Ready)), v1::PodSandboxState::SandboxReady);
    }

    #[test]
    fn the_primary_address_is_not_repeated_and_the_handler_is_the_requested_one() {
        let mut pod = pod(PodPhase::Ready);
        pod.ips = vec!["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let status = status(&pod);
        let network = status.network.unwrap();
        assert_eq!(network.ip, "10.0.0.2");
        assert_eq!(network.additional_ips, [v1::PodIp { ip: "fd00::2".into() }]);
        assert_eq!(status.runtime_handler, "");
    }

    #[test]
    fn verbose_info_is_one_json_object() {
        let info = info(&pod(PodPhase::Ready), &[], Ok("1.2.3".into()));
        let info: serde_json::Value = serde_json::from_str(&info["info"]).unwrap();
        assert_eq!(info["handler"], "crun");
        assert_eq!(info["shimVersion"], "1.2.3");
        assert_eq!(info["config"]["metadata"]["name"], "n");
    }
}
