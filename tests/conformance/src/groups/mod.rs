// SPDX-License-Identifier: Apache-2.0
//! The cases, one file per group.

mod apparmor;
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
mod streaming;
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
        streaming::CASES,
        log::CASES,
        volume::CASES,
        propagation::CASES,
        oom::CASES,
        resources::CASES,
        namespaces::CASES,
        security::CASES,
        apparmor::CASES,
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::expect::Expectations;

    #[test]
    fn names_are_unique_and_plain() {
        let mut seen = BTreeSet::new();
        for case in all() {
            assert!(seen.insert(case.name), "{} is there twice", case.name);
            assert!(!case.name.contains('"'), "{} cannot be written in a list", case.name);
        }
    }

    #[test]
    fn the_lists_of_all_endpoints_name_cases() {
        let lists = Path::new(env!("CARGO_MANIFEST_DIR")).join("expect");
        for entry in std::fs::read_dir(lists).unwrap() {
            Expectations::read(&entry.unwrap().path(), &all()).unwrap();
        }
    }
}
