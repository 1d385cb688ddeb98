// SPDX-License-Identifier: Apache-2.0
//! What crisp may use. Each case prints what it measured.

mod daemon;
mod io_helpers;
mod lists;
mod logs;
mod shims;

use crate::{cases, stage::Case};

/// The cases.
pub const CASES: &[Case] = cases![
    shims::idle_shims_are_small_and_sleep,
    shims::execs_leave_a_shim_as_it_was,
    io_helpers::idle_io_helpers_are_small_and_sleep,
    daemon::a_pod_costs_the_daemon_little,
    lists::lists_of_a_full_node_are_quick,
    logs::two_hundred_megabytes_lose_no_line,
];
