// SPDX-License-Identifier: Apache-2.0
//! Requests that get no spec, and what they are told.

use super::{NamespacePaths, PodNamespaces, SeccompChoice, SpecErrorKind, fixture::Case};
use crate::{
    containers::{
        capabilities::CapabilitySet,
        host::Support,
        spec::{ImageRequest, MountAccess, MountSource, Propagation},
    },
    pods::spec::{IdMapping, Privilege, SelinuxLabel},
};

fn refused(case: &Case, kind: SpecErrorKind, text: &str) {
    let error = case.generate().unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(text), "{error}");
}

#[test]
fn a_container_without_any_command() {
    let mut case = Case::plain();
    case.image.entrypoint.clear();
    case.image.cmd.clear();
    refused(&case, SpecErrorKind::InvalidArgument, "sha256:abc");
}

#[test]
fn an_environment_that_no_json_can_hold() {
    let mut case = Case::plain();
    case.container.envs = vec![("RAW".into(), vec![0xff, 0xfe])];
    refused(&case, SpecErrorKind::InvalidArgument, "\"RAW\" is not UTF-8");
    case.container.envs = vec![("NUL".into(), b"a\0b".to_vec())];
    refused(&case, SpecErrorKind::InvalidArgument, "NUL");
    for name in ["", "A=B"] {
        case.container.envs = vec![(name.into(), Vec::new())];
        refused(&case, SpecErrorKind::InvalidArgument, "environment variable");
    }
}

#[test]
fn a_capability_that_is_none_or_not_ours_to_give() {
    let mut case = Case::plain();
    case.container.security.add_capabilities = vec!["NET_GOD".into()];
    refused(&case, SpecErrorKind::InvalidArgument, "NET_GOD");
    case.container.security.add_capabilities = vec!["SYS_RESOURCE".into()];
    let lacking = CapabilitySet::named("SYS_RESOURCE").unwrap();
    case.host.capabilities = CapabilitySet::known().without(lacking);
    refused(&case, SpecErrorKind::Unsupported, "SYS_RESOURCE");
    case.container.security.add_capabilities = vec!["ALL".into()];
    assert!(case.generate().is_ok(), "ALL is what there is");
}

#[test]
fn a_privileged_container_in_a_confined_pod() {
    let mut case = Case::plain().privileged();
    case.pod.privilege = Privilege::Confined;
    refused(&case, SpecErrorKind::InvalidArgument, "privileged pod");
}

#[test]
fn recursive_read_only_that_propagates_or_is_not_supported() {
    let mut case = Case::plain().with_mount("/srv", "/srv");
    case.last_mount().access = MountAccess::RecursiveReadOnly;
    case.last_mount().propagation = Propagation::HostToContainer;
    refused(&case, SpecErrorKind::InvalidArgument, "/srv");
    case.last_mount().propagation = Propagation::Private;
    case.runtime.recursive_read_only = Support::Absent;
    refused(&case, SpecErrorKind::RroUnsupported, "crun");
}

#[test]
fn mounts_that_cannot_be() {
    let mut case = Case::plain().with_mount("/srv", "relative");
    refused(&case, SpecErrorKind::InvalidArgument, "relative");
    case.last_mount().container_path = "/a/..".into();
    refused(&case, SpecErrorKind::InvalidArgument, "/a/..");
    case.last_mount().container_path = "/a".into();
    case.last_mount().options = vec!["suid".into()];
    refused(&case, SpecErrorKind::InvalidArgument, "suid");
    case.last_mount().options.clear();
    case.last_mount().uid_mappings = vec![IdMapping { host_id: 1, container_id: 0, length: 1 }];
    refused(&case, SpecErrorKind::InvalidArgument, "users and groups");
    case.last_mount().gid_mappings = vec![IdMapping { host_id: 1, container_id: 0, length: 1 }];
    case.runtime.idmap_mounts = Support::Absent;
    refused(&case, SpecErrorKind::Unsupported, "id-mapped");
}

#[test]
fn an_image_volume_that_is_writable() {
    let mut case = Case::plain().with_mount("", "/image");
    case.last_mount().source =
        MountSource::Image { image: ImageRequest::default(), sub_path: String::new() };
    refused(&case, SpecErrorKind::ImageVolume, "/image");
    case.last_mount().access = MountAccess::ReadOnly;
    assert!(case.generate().is_ok());
}

#[test]
fn a_profile_or_label_the_host_cannot_apply() {
    let mut case = Case::plain();
    case.host.seccomp = Support::Absent;
    case.seccomp = SeccompChoice::RuntimeDefault;
    refused(&case, SpecErrorKind::Unsupported, "seccomp");
    assert!(case.privileged().generate().is_ok(), "a privileged container has no profile");
    let mut case = Case::plain();
    case.host.selinux = Support::Present;
    for level in ["wrong", "s0:", "s0-s1-s2", "s0:cx"] {
        case.container.security.selinux =
            Some(SelinuxLabel { level: level.into(), ..SelinuxLabel::default() });
        refused(&case, SpecErrorKind::InvalidArgument, level);
    }
    case.host.selinux = Support::Absent;
    assert!(case.generate().is_ok(), "without SELinux a label says nothing");
}

#[test]
fn a_pod_that_lost_a_namespace() {
    let mut case = Case::plain();
    case.namespaces = PodNamespaces::Pinned(NamespacePaths::default());
    refused(&case, SpecErrorKind::Internal, "network namespace");
}
