// SPDX-License-Identifier: Apache-2.0
//! Exec, attach and port-forward: what becomes of them when the daemon, their own process or their
//! client goes away, and when there are many. kubectl's own client is among the clients.

mod attach;
mod clients;
mod grace;
mod killed;
mod kubectl;
mod many;
mod outlive;
mod pattern;
mod process;
mod tls;
mod url;

use crate::{cases, stage::Case};

/// The cases.
pub const CASES: &[Case] = cases![
    outlive::sessions_go_on_without_the_daemon_and_lose_no_byte,
    outlive::sessions_are_in_the_cgroup_of_their_pod,
    killed::a_killed_session_takes_its_exec_along,
    killed::a_new_daemon_ends_execs_that_have_lost_their_session,
    clients::a_client_that_stalls_or_floods_costs_little_and_leaves_nothing,
    clients::a_client_that_breaks_off_leaves_nothing,
    attach::a_slow_attachment_slows_nobody_down,
    grace::execs_run_during_the_grace_period_and_not_after,
    kubectl::kubectl_runs_commands_and_attaches,
    kubectl::kubectl_has_a_terminal,
    kubectl::kubectl_forwards_many_connections,
    tls::sessions_use_the_certificate_of_now_and_the_ports_allowed with tls::with_certificate,
    many::hundreds_of_execs_at_once_all_answer,
    many::a_thousand_sessions_leave_memory_as_it_was,
];
