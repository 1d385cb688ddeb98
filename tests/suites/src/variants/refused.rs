// SPDX-License-Identifier: Apache-2.0
//! What a handler's pods cannot have is refused at the door.

use anyhow::Result;
use crisp_conformance::{
    fixture::Test,
    want::{contains, refused_with},
};
use crisp_cri::{NamespaceMode, NamespaceOption};
use tonic::Code;

use super::MACHINE;
use crate::{stage::Stage, traces};

/// The error names the handler and what it has not; nothing was made.
pub async fn what_a_shim_cannot_have_is_refused_before_it_is_started(
    stage: &mut Stage,
) -> Result<()> {
    let test = Test::new(stage.node.client(MACHINE).await?)?;
    let mut config = test.pod_config()?;
    let context = config.linux.get_or_insert_default().security_context.get_or_insert_default();
    context.namespace_options =
        Some(NamespaceOption { network: NamespaceMode::Node.into(), ..Default::default() });
    let error =
        refused_with("RunPodSandbox", test.run_pod(config).await, &[Code::InvalidArgument])?;
    contains("the error", error.status.message(), MACHINE)?;
    contains("the error", error.status.message(), "host's network")?;
    traces::none_left(&stage.node).await
}
