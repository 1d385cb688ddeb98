// SPDX-License-Identifier: Apache-2.0
//! What the runtime is.

use crisp_cri as v1;

use super::Cri;

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
}
