// SPDX-License-Identifier: Apache-2.0
//! Device nodes of a container and what its cgroup lets it do with devices.

use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

use super::SpecInput;
use crate::containers::devices::{DeviceKind, ResolvedDevice};

/// Character devices that every container has, `major:minor`: null, zero, full, tty, random,
/// urandom, ptmx; then all of its terminals.
const ALWAYS: [(i64, Option<i64>); 8] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (5, Some(0)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(2)),
    (136, None),
];

/// Nodes to make. The OCI runtime adds those of [`ALWAYS`] by itself. A later device for the same
/// path wins.
pub(super) fn nodes(input: &SpecInput<'_>) -> Vec<LinuxDevice> {
    let mut list: Vec<LinuxDevice> = Vec::new();
    for device in input.host_devices.iter().chain(asked(input)) {
        list.retain(|known| known.path() != &device.path);
        list.push(node(device));
    }
    list
}

/// First nothing is allowed, then what is listed. A privileged container may use any device,
/// also one that is plugged in later.
pub(super) fn rules(input: &SpecInput<'_>) -> Vec<LinuxDeviceCgroup> {
    if input.is_privileged() {
        return vec![rule(true, None, (None, None), "rwm")];
    }
    let mut list = vec![rule(false, None, (None, None), "rwm")];
    for kind in [LinuxDeviceType::C, LinuxDeviceType::B] {
        list.push(rule(true, Some(kind), (None, None), "m"));
    }
    list.extend(
        ALWAYS.map(|(major, minor)| {
            rule(true, Some(LinuxDeviceType::C), (Some(major), minor), "rwm")
        }),
    );
    list.extend(asked(input).filter_map(|device| {
        let kind = match device.kind {
            DeviceKind::Char => LinuxDeviceType::C,
            DeviceKind::Block => LinuxDeviceType::B,
            DeviceKind::Fifo => return None,
        };
        let number = (Some(i64::from(device.major)), Some(i64::from(device.minor)));
        Some(rule(true, Some(kind), number, &device.permissions))
    }));
    list
}

fn asked<'a>(input: &'a SpecInput<'_>) -> impl Iterator<Item = &'a ResolvedDevice> {
    input.devices.iter().chain(&input.cdi.devices)
}

fn node(device: &ResolvedDevice) -> LinuxDevice {
    let mut node = LinuxDevice::default();
    node.set_path(device.path.clone());
    node.set_typ(match device.kind {
        DeviceKind::Char => LinuxDeviceType::C,
        DeviceKind::Block => LinuxDeviceType::B,
        DeviceKind::Fifo => LinuxDeviceType::P,
    });
    node.set_major(i64::from(device.major));
    node.set_minor(i64::from(device.minor));
    node.set_file_mode(Some(device.mode));
    node.set_uid(Some(device.uid));
    node.set_gid(Some(device.gid));
    node
}

fn rule(
    allow: bool,
    kind: Option<LinuxDeviceType>,
    (major, minor): (Option<i64>, Option<i64>),
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow);
    rule.set_typ(kind);
    rule.set_major(major);
    rule.set_minor(minor);
    rule.set_access(Some(access.to_owned()));
    rule
}
