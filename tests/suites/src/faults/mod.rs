// SPDX-License-Identifier: Apache-2.0
//! What pods depend on fails, hangs or lies. Each time: an error in time, with the right code,
//! that names the thing; nothing left behind; other pods as before.

mod config;
mod disk;
mod network;
mod registry;
mod requests;
mod runtime;
pub mod stopped_shim;

pub use network::faults as hung_plugin;

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use crisp_conformance::{
    container::Container,
    cri::CallError,
    want::{contains, equal, refused_with},
};
use tonic::Code;

use crate::{cases, fake, proc::Process, stage::Case, stage::Stage};

/// The cases.
pub const CASES: &[Case] = cases![
    requests::bad_requests_are_refused_by_name,
    config::a_bad_configuration_ends_the_start_with_its_reason,
    config::a_missing_runtime_or_plugin_directory_is_named,
    registry::a_dead_registry_is_named with fake::deadlines,
    registry::a_silent_registry_is_given_up with fake::deadlines,
    disk::a_pull_onto_a_full_disk_leaves_nothing with disk::small_root,
    disk::a_pod_on_a_full_run_directory_leaves_nothing with disk::small_run,
    network::a_failing_plugin_fails_the_pod_with_its_words with network::faults,
    network::a_hung_plugin_is_ended_in_time with network::faults,
    network::a_lying_plugin_is_not_believed with network::faults,
    network::a_failed_release_is_tried_again with network::faults,
    runtime::a_runtime_that_fails_is_quoted with runtime::faults,
    runtime::a_runtime_that_hangs_is_ended_in_time with runtime::faults,
    runtime::a_runtime_that_cannot_delete_does_not_keep_the_pod with runtime::faults,
    stopped_shim::calls_end_and_the_pod_can_be_removed with fake::deadlines,
];

/// How long a refusal may take that has nothing to wait for.
const PROMPT: Duration = Duration::from_secs(5);
/// The longest that several steps may take, each up to its deadline.
const IN_TIME: Duration = Duration::from_secs(4 * fake::DEADLINE + 6);

/// A pod that must not notice what happens to others.
struct Bystander {
    container: Container,
    process: Process,
}

impl Bystander {
    async fn new(stage: &Stage) -> Result<Self> {
        let (_, container) = stage.pod_with_container().await?;
        let process = stage.process(&container).await?;
        Ok(Self { container, process })
    }

    async fn unharmed(&self, stage: &Stage) -> Result<()> {
        equal("the other pod's process", stage.process(&self.container).await?, self.process)?;
        let said = self.container.sh("echo here").await?;
        equal("output of an exec in the other pod", said, "here")
    }
}

/// The call must be refused within `limit`, with one of `codes`, in words that hold `names`.
async fn fails<T>(
    what: &str,
    limit: Duration,
    call: impl Future<Output = Result<T, CallError>>,
    codes: &[Code],
    names: &str,
) -> Result<()> {
    let began = Instant::now();
    let error = refused_with(what, call.await, codes)?;
    let took = began.elapsed();
    contains(what, error.status.message(), names)?;
    ensure!(took < limit, "{what}: refused only after {took:.1?}, at most {limit:?} was expected");
    Ok(())
}
