// SPDX-License-Identifier: Apache-2.0
//! CRI messages to the domain's values and back. Pure. Everything a client may get wrong that can
//! be seen in the message alone is refused here, with the field's name.

mod container;
mod filter;
mod mount;
mod namespaces;
mod pod;
mod profile;
mod resources;
mod scalars;
mod signal;
mod user;

pub use container::{
    container_config, container_config_to_cri, container_metadata_to_cri, image_to_cri,
};
pub use filter::{ContainerFilter, PodFilter, StatsFilter, select};
pub use mount::mount_to_cri;
pub use namespaces::namespaces_to_cri;
pub use pod::{pod_config, pod_config_to_cri, pod_metadata_to_cri};
pub use resources::{resources, resources_to_cri};
pub use scalars::{Invalid, pairs, to_map};
pub use signal::signal_to_cri;

#[cfg(test)]
mod roundtrip;
