// SPDX-License-Identifier: Apache-2.0
//! The cases, one file per group.

mod checkpoint;
mod container;
mod events;
mod exec;
mod idempotence;
mod image;
mod image_content;
mod image_volume;
mod info;
mod log;
mod namespaces;
mod network;
mod oom;
mod pod;
mod pod_stats;
mod process;
mod propagation;
mod resources;
mod security;
mod stream_lists;
mod sysctl;
mod volume;

use crate::case::Case;

/// All cases, in the order of the tables.
pub fn all() -> Vec<Case> {
    [
        info::CASES,
        pod::CASES,
        container::CASES,
        process::CASES,
        exec::CASES,
        log::CASES,
        volume::CASES,
        propagation::CASES,
        oom::CASES,
        resources::CASES,
        namespaces::CASES,
        security::CASES,
        sysctl::CASES,
        network::CASES,
        image::CASES,
        image_content::CASES,
        image_volume::CASES,
        idempotence::CASES,
        pod_stats::CASES,
        events::CASES,
        stream_lists::CASES,
        checkpoint::CASES,
    ]
    .concat()
}
