// SPDX-License-Identifier: Apache-2.0
//! Pods whose shim is not crisp's own: containerd's for runc, as its Go module builds it. What
//! holds for crisp's pods holds for them: restarts lose nothing, shims that hang or die harm
//! nobody else, and two handlers live side by side.

mod lost_shim;
mod refused;
mod side_by_side;

use anyhow::Result;

use crate::{
    cases, fake,
    faults::stopped_shim,
    node::Node,
    restart::{exits, logs, same},
    stage::Case,
};

/// The cases.
pub const CASES: &[Case] = cases![
    side_by_side::pods_of_two_handlers_live_in_one_daemon with beside,
    refused::what_a_shim_cannot_have_is_refused_before_it_is_started with virtual_machine,
    same::pods_and_their_processes_go_on with alone,
    exits::exits_without_a_daemon_keep_code_reason_and_time with alone,
    exits::a_stop_cut_short_can_be_repeated with alone,
    logs::a_log_counts_on_through_outages_and_rotation with alone,
    stopped_shim::calls_end_and_the_pod_can_be_removed with hurried,
    lost_shim::its_pod_is_not_ready_and_can_be_removed with alone,
];

/// Name of the handler that the shim serves.
const HANDLER: &str = "runc-v2";
/// Name of a handler that says of it that its pods are virtual machines.
const MACHINE: &str = "machine";

/// The shim's handler beside crisp's own, which stays the default.
fn beside(node: &Node) -> Result<()> {
    let shim = node.parts().plugins.join("containerd-shim-runc-v2");
    node.configure(&format!(
        "[runtime.runtimes.{HANDLER}]\nruntime_type = \"shim\"\nruntime_path = \"{}\"\n",
        shim.display()
    ))
}

/// The shim's handler is the default.
fn alone(node: &Node) -> Result<()> {
    let own = format!("default_runtime = \"{}\"", node.parts().runtime);
    node.reword(&own, &format!("default_runtime = \"{HANDLER}\""))?;
    beside(node)
}

/// The same with short deadlines.
fn hurried(node: &Node) -> Result<()> {
    alone(node)?;
    fake::deadlines(node)
}

fn virtual_machine(node: &Node) -> Result<()> {
    let shim = node.parts().plugins.join("containerd-shim-runc-v2");
    node.configure(&format!(
        "[runtime.runtimes.{MACHINE}]\nruntime_type = \"vm\"\nruntime_path = \"{}\"\n\
         host_network = \"refuse\"\n",
        shim.display()
    ))
}
