// SPDX-License-Identifier: Apache-2.0
//! What the runtime is, how it fares, what it can do.

use std::collections::HashMap;

use crisp_cri as v1;
use serde_json::json;

use super::{Cri, report::NODE_KEY};
use crate::{
    cgroups::Driver, network::Readiness, pods::handler::Handler, rootfs::kernel_maps_layers,
};

/// CRI's own version string of old; clients only want it not to be empty.
const KUBELET_API: &str = "0.1.0";

impl Cri {
    pub(super) fn version(&self) -> v1::VersionResponse {
        v1::VersionResponse {
            version: KUBELET_API.into(),
            runtime_name: "crisp".into(),
            runtime_version: env!("CARGO_PKG_VERSION").into(),
            runtime_api_version: "v1".into(),
        }
    }

    pub(super) async fn status(&self, request: v1::StatusRequest) -> v1::StatusResponse {
        let network = match self.node.context.network.ready().await {
            Readiness::Ready => condition("NetworkReady", None),
            Readiness::NotReady(why) => {
                condition("NetworkReady", Some((why.reason.as_str(), why.message)))
            }
        };
        v1::StatusResponse {
            status: Some(v1::RuntimeStatus {
                // A daemon that answers can run host-network pods.
                conditions: vec![condition("RuntimeReady", None), network],
            }),
            info: if request.verbose { self.node_info() } else { HashMap::new() },
            runtime_handlers: self.handlers(),
            features: Some(v1::RuntimeFeatures {
                supplemental_groups_policy: true,
                user_namespaces_host_network: false,
                mount_options: true,
            }),
        }
    }

    /// Every handler by its name, the default one also by none.
    fn handlers(&self) -> Vec<v1::RuntimeHandler> {
        let handlers = &self.node.context.handlers;
        let shown = |name: &str, handler: &Handler| v1::RuntimeHandler {
            name: name.to_owned(),
            features: Some(v1::RuntimeHandlerFeatures {
                recursive_read_only_mounts: handler.abilities.recursive_read_only,
                // The daemon maps owners itself; the OCI runtime only joins the namespace.
                user_namespaces: kernel_maps_layers() && handler.has_user_namespaces(),
            }),
        };
        let default = shown("", handlers.default_handler());
        std::iter::once(default).chain(handlers.named().map(|h| shown(&h.name, h))).collect()
    }

    /// What a verbose status adds, as JSON.
    fn node_info(&self) -> HashMap<String, String> {
        let context = &self.node.context;
        let handlers: HashMap<_, _> = context
            .handlers
            .named()
            .map(|h| (h.name.clone(), json!({ "shim": h.shim, "runtime": h.runtime() })))
            .collect();
        let info = json!({
            "root": context.layout.root(),
            "runroot": context.layout.run(),
            "defaultHandler": context.handlers.default_handler().name,
            "handlers": handlers,
            "nriPlugins": context.nri.show(),
        });
        let state = serde_json::to_string(&self.report()).unwrap_or_default();
        HashMap::from([("config".to_owned(), info.to_string()), (NODE_KEY.to_owned(), state)])
    }

    pub(super) fn cgroup_driver(&self) -> v1::RuntimeConfigResponse {
        let driver = match self.node.context.cgroups.driver() {
            Driver::Systemd => v1::CgroupDriver::Systemd,
            Driver::Cgroupfs => v1::CgroupDriver::Cgroupfs,
        };
        v1::RuntimeConfigResponse {
            linux: Some(v1::LinuxRuntimeConfiguration { cgroup_driver: driver.into() }),
        }
    }

    /// The kubelet's pod range, for CNI plugins that take one. A kubelet does not start over for
    /// a range that is refused, so a bad one is only logged.
    pub(super) fn learn(
        &self,
        request: v1::UpdateRuntimeConfigRequest,
    ) -> v1::UpdateRuntimeConfigResponse {
        let network = request.runtime_config.and_then(|c| c.network_config).unwrap_or_default();
        if let Err(error) = self.node.context.network.set_pod_cidr(&network.pod_cidr) {
            tracing::warn!(pod_cidr = network.pod_cidr, %error, "the kubelet's pod range");
        }
        v1::UpdateRuntimeConfigResponse {}
    }
}

/// A condition that holds, or the reason and message why it does not.
fn condition(kind: &str, failure: Option<(&str, String)>) -> v1::RuntimeCondition {
    let status = failure.is_none();
    let (reason, message) = failure.unwrap_or_default();
    v1::RuntimeCondition { r#type: kind.into(), status, reason: reason.into(), message }
}
