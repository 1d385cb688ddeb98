// SPDX-License-Identifier: Apache-2.0
//! Names of cgroups: pure.

use crisp_words::{ContainerId, SandboxId};

use super::Driver;

/// A container's cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerCgroup {
    /// Path from the hierarchy's root.
    pub path: String,
    /// What the OCI spec's `cgroupsPath` says: a path, or `SLICE:PREFIX:NAME` for systemd.
    pub for_runtime: String,
}

pub(super) fn own_pod(driver: Driver, id: &SandboxId) -> String {
    match driver {
        Driver::Cgroupfs => format!("/crisp/{id}"),
        // A dash would be a level of the slice tree; ids have none.
        Driver::Systemd => format!("/crisp.slice/crisp-{id}.slice"),
    }
}

pub(super) fn parent_path(driver: Driver, parent: &str) -> String {
    match driver {
        Driver::Cgroupfs => absolute(parent),
        Driver::Systemd => expand_slice(slice_of(parent)),
    }
}

pub(super) fn container(driver: Driver, parent: &str, id: &ContainerId) -> ContainerCgroup {
    let parent_path = parent_path(driver, parent);
    match driver {
        Driver::Cgroupfs => {
            let path = format!("{parent_path}/crisp-{id}");
            ContainerCgroup { for_runtime: path.clone(), path }
        }
        Driver::Systemd => ContainerCgroup {
            path: format!("{parent_path}/crisp-{id}.scope"),
            for_runtime: format!("{}:crisp:{id}", slice_of(parent)),
        },
    }
}

/// The cgroup that a `cgroupsPath` of the driver's form names.
pub(super) fn named(driver: Driver, for_runtime: &str) -> Option<ContainerCgroup> {
    let path = match driver {
        Driver::Cgroupfs => for_runtime.starts_with('/').then(|| absolute(for_runtime))?,
        Driver::Systemd => {
            let mut parts = for_runtime.split(':');
            let (slice, prefix, name) = (parts.next()?, parts.next()?, parts.next()?);
            let whole = parts.next().is_none() && slice.ends_with(".slice") && !name.is_empty();
            whole.then(|| format!("{}/{prefix}-{name}.scope", expand_slice(slice)))?
        }
    };
    Some(ContainerCgroup { path, for_runtime: for_runtime.to_owned() })
}

fn absolute(path: &str) -> String {
    format!("/{}", path.trim_matches('/'))
}

/// The slice that a parent such as `/kubepods.slice/kubepods-pod1.slice` names: its last part.
fn slice_of(parent: &str) -> &str {
    parent.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// Where systemd puts a slice: `a-b-c.slice` is below `a-b.slice`, and that below `a.slice`
/// (systemd.slice(5)).
fn expand_slice(slice: &str) -> String {
    let Some(name) = slice.strip_suffix(".slice") else { return absolute(slice) };
    let mut path = String::new();
    let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    for end in ends {
        path.push('/');
        path.push_str(&name[..end]);
        path.push_str(".slice");
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> ContainerId {
        ContainerId::new("c1").unwrap()
    }

    #[test]
    fn cgroupfs_names_are_paths() {
        let cgroup = container(Driver::Cgroupfs, "kubepods/pod1/", &id());
        assert_eq!(cgroup.path, "/kubepods/pod1/crisp-c1");
        assert_eq!(cgroup.for_runtime, cgroup.path);
    }

    #[test]
    fn a_name_in_the_drivers_form_is_found() {
        let path = |driver, name| named(driver, name).map(|cgroup| cgroup.path);
        assert_eq!(path(Driver::Cgroupfs, "/a/b/"), Some("/a/b".into()));
        assert_eq!(path(Driver::Cgroupfs, "a.slice:b:c"), None);
        let scope = Some("/a.slice/a-b.slice/x-c.scope".into());
        assert_eq!(path(Driver::Systemd, "a-b.slice:x:c"), scope);
        for wrong in ["/a/b", "a.slice:x", "a:x:c", "a.slice:x:c:d"] {
            assert_eq!(path(Driver::Systemd, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn systemd_names_are_scopes_in_expanded_slices() {
        let parent = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice";
        let cgroup = container(Driver::Systemd, parent, &id());
        assert_eq!(cgroup.for_runtime, "kubepods-burstable-pod1.slice:crisp:c1");
        assert_eq!(cgroup.path, format!("{parent}/crisp-c1.scope"));
        assert_eq!(parent_path(Driver::Systemd, "test.slice"), "/test.slice");
    }
}
