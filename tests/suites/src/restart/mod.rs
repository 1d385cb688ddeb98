// SPDX-License-Identifier: Apache-2.0
//! The daemon is killed with SIGKILL and started again: nothing that a kubelet or a user could
//! see is lost.

mod churn;
mod damage;
pub(crate) mod exits;
mod half_made;
pub(crate) mod logs;
mod many;
pub(crate) mod same;

use crate::{cases, stage::Case};

/// The cases.
pub const CASES: &[Case] = cases![
    same::pods_and_their_processes_go_on,
    same::a_retry_after_the_outage_gets_the_same_answer,
    exits::exits_without_a_daemon_keep_code_reason_and_time,
    exits::a_stop_cut_short_can_be_repeated,
    logs::a_log_counts_on_through_outages_and_rotation,
    half_made::a_pod_in_the_making_is_undone with half_made::wrapped_network,
    half_made::a_container_in_the_making_is_undone with half_made::wrapped_runtime,
    half_made::a_start_under_way_is_found_again with half_made::wrapped_runtime,
    damage::a_corrupt_pod_record_stops_no_other_pod,
    damage::a_corrupt_container_record_stops_no_other_container,
    damage::a_dead_shim_leaves_its_pod_listed_and_removable,
    damage::a_shim_that_died_during_the_outage_is_noticed,
    many::fifty_pods_are_listed_soon_after_the_start,
    churn::kills_at_random_instants_lose_and_leave_nothing,
];
