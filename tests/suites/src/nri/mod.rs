// SPDX-License-Identifier: Apache-2.0
//! NRI, judged by real plugins: `tests/tools/nri-plugin` is built on the published stub.

mod adjust;
mod events;
mod failures;
mod plugin;
mod restart;
mod shape;
mod updates;

use crate::{cases, stage::Case};

/// The cases.
pub const CASES: &[Case] = cases![
    shape::the_protocol_is_the_published_one,
    events::every_event_is_heard_once_and_in_order,
    events::an_exit_by_itself_is_heard,
    events::a_plugin_is_synchronized_in_pieces_where_one_message_is_too_long,
    events::plugins_are_asked_in_the_order_of_their_indices,
    adjust::what_is_adjusted_is_seen_inside,
    adjust::two_plugins_that_disagree_fail_the_creation,
    adjust::a_validator_has_the_last_word,
    updates::a_creation_changes_another_container,
    updates::an_update_is_changed_on_its_way,
    updates::the_end_of_a_container_gives_to_another,
    updates::containers_are_changed_and_evicted_unasked,
    failures::a_refusal_fails_what_was_asked,
    failures::a_slow_plugin_delays_one_pod_only,
    failures::a_plugin_that_hangs_is_dropped,
    failures::a_plugin_that_hangs_at_the_start_is_dropped with failures::hasty,
    failures::a_plugin_that_is_killed_is_passed_over,
    failures::a_plugin_without_a_proper_name_is_turned_away,
    restart::a_plugin_finds_all_pods_after_a_restart,
    restart::plugins_of_the_directory_are_started with restart::one_plugin,
    restart::without_nri_there_is_no_socket with restart::disabled,
];
