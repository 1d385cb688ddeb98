// SPDX-License-Identifier: Apache-2.0

use crisp_cri::{self as v1, NamespaceMode};
use crisp_words::ContainerId;

use super::scalars::{Invalid, unknown_number};
use crate::pods::spec::{IdMapping, Namespaces, PidSharing, Sharing, UserNamespace};

/// Whose options these are. A sandbox has no container yet whose processes it could share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Sandbox,
    Container,
}

/// Namespaces, from the wire; missing options are all zero, which shares the pod's.
pub(super) fn namespaces(
    at: &str,
    options: Option<v1::NamespaceOption>,
    owner: Owner,
) -> Result<Namespaces, Invalid> {
    let Some(options) = options else {
        return Ok(Namespaces::default());
    };
    let network = sharing(&format!("{at}.network"), options.network)?;
    let user = match options.userns_options {
        None => None,
        Some(user) => user_namespace(&format!("{at}.userns_options"), user)?,
    };
    if user.is_some() && network == Sharing::Node {
        return Err(Invalid::new(
            format!("{at}.userns_options"),
            "a user namespace of the pod and the node's network are not supported together",
        ));
    }
    Ok(Namespaces {
        network,
        ipc: sharing(&format!("{at}.ipc"), options.ipc)?,
        pid: pid(at, options.pid, options.target_id, owner)?,
        user,
    })
}

fn mode(field: &str, number: i32) -> Result<NamespaceMode, Invalid> {
    NamespaceMode::try_from(number).map_err(|e| unknown_number(field, e.0))
}

fn sharing(field: &str, number: i32) -> Result<Sharing, Invalid> {
    match mode(field, number)? {
        NamespaceMode::Pod => Ok(Sharing::Pod),
        NamespaceMode::Node => Ok(Sharing::Node),
        other => Err(not_here(field, other, "POD or NODE")),
    }
}

fn not_here(field: &str, mode: NamespaceMode, legal: &str) -> Invalid {
    Invalid::new(field, format!("mode {} is not supported, only {legal}", mode.as_str_name()))
}

fn pid(at: &str, number: i32, target: String, owner: Owner) -> Result<PidSharing, Invalid> {
    let field = format!("{at}.pid");
    match mode(&field, number)? {
        NamespaceMode::Pod => Ok(PidSharing::Pod),
        NamespaceMode::Container => Ok(PidSharing::Container),
        NamespaceMode::Node => Ok(PidSharing::Node),
        NamespaceMode::Target if owner == Owner::Container => ContainerId::new(target)
            .map(PidSharing::Target)
            .map_err(|e| Invalid::new(format!("{at}.target_id"), e.to_string())),
        other => Err(not_here(&field, other, "POD, CONTAINER or NODE for a sandbox")),
    }
}

fn user_namespace(at: &str, user: v1::UserNamespace) -> Result<Option<UserNamespace>, Invalid> {
    let field = format!("{at}.mode");
    match mode(&field, user.mode)? {
        NamespaceMode::Node if user.uids.is_empty() && user.gids.is_empty() => Ok(None),
        NamespaceMode::Node => Err(Invalid::new(at, "mode NODE takes no mappings")),
        NamespaceMode::Pod => Ok(Some(UserNamespace {
            uids: only_mapping(&format!("{at}.uids"), &user.uids)?,
            gids: only_mapping(&format!("{at}.gids"), &user.gids)?,
        })),
        other => Err(not_here(&field, other, "POD or NODE")),
    }
}

/// The one range of a pod's user namespace; it must begin at root.
fn only_mapping(field: &str, given: &[v1::IdMapping]) -> Result<IdMapping, Invalid> {
    let [one] = given else {
        return Err(Invalid::new(
            field,
            format!("exactly one mapping is supported, not {}", given.len()),
        ));
    };
    let mapping = id_mapping(field, one)?;
    if mapping.container_id != 0 {
        return Err(Invalid::new(field, "container id 0 is not mapped"));
    }
    Ok(mapping)
}

/// A range of ids that exists on both sides.
pub(super) fn id_mapping(field: &str, mapping: &v1::IdMapping) -> Result<IdMapping, Invalid> {
    let v1::IdMapping { host_id, container_id, length } = *mapping;
    if length == 0 {
        return Err(Invalid::new(field, "a mapping of no ids"));
    }
    if host_id.checked_add(length).is_none() || container_id.checked_add(length).is_none() {
        return Err(Invalid::new(field, "the mapping goes beyond the highest id"));
    }
    Ok(IdMapping { host_id, container_id, length })
}

pub(super) fn id_mapping_to_cri(mapping: &IdMapping) -> v1::IdMapping {
    let IdMapping { host_id, container_id, length } = *mapping;
    v1::IdMapping { host_id, container_id, length }
}

/// Namespaces, to the wire: as they were asked for.
#[must_use]
pub fn namespaces_to_cri(namespaces: &Namespaces) -> v1::NamespaceOption {
    let sharing = |sharing| match sharing {
        Sharing::Pod => NamespaceMode::Pod,
        Sharing::Node => NamespaceMode::Node,
    };
    let (pid, target_id) = match &namespaces.pid {
        PidSharing::Pod => (NamespaceMode::Pod, String::new()),
        PidSharing::Container => (NamespaceMode::Container, String::new()),
        PidSharing::Node => (NamespaceMode::Node, String::new()),
        PidSharing::Target(id) => (NamespaceMode::Target, id.to_string()),
    };
    v1::NamespaceOption {
        network: sharing(namespaces.network).into(),
        pid: pid.into(),
        ipc: sharing(namespaces.ipc).into(),
        target_id,
        userns_options: namespaces.user.as_ref().map(|user| v1::UserNamespace {
            mode: NamespaceMode::Pod.into(),
            uids: vec![id_mapping_to_cri(&user.uids)],
            gids: vec![id_mapping_to_cri(&user.gids)],
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(mode: NamespaceMode, container_id: u32, count: usize) -> v1::NamespaceOption {
        let mapping = v1::IdMapping { host_id: 65536, container_id, length: 65536 };
        v1::NamespaceOption {
            userns_options: Some(v1::UserNamespace {
                mode: mode.into(),
                uids: vec![mapping; count],
                gids: vec![mapping; count],
            }),
            ..Default::default()
        }
    }

    fn refused(options: v1::NamespaceOption) -> Invalid {
        namespaces("n", Some(options), Owner::Sandbox).expect_err("was accepted")
    }

    #[test]
    fn missing_options_share_the_pods_namespaces_and_the_nodes_users() {
        let all = namespaces("n", None, Owner::Container).unwrap();
        assert_eq!((all.pid, all.user), (PidSharing::Pod, None));
    }

    #[test]
    fn a_pods_user_namespace_needs_one_mapping_that_holds_root() {
        assert!(namespaces("n", Some(mapped(NamespaceMode::Pod, 0, 1)), Owner::Sandbox).is_ok());
        assert_eq!(refused(mapped(NamespaceMode::Pod, 0, 2)).field, "n.userns_options.uids");
        assert_eq!(refused(mapped(NamespaceMode::Pod, 0, 0)).field, "n.userns_options.uids");
        assert_eq!(refused(mapped(NamespaceMode::Pod, 1, 1)).field, "n.userns_options.uids");
    }

    #[test]
    fn container_and_target_are_no_user_namespace_modes() {
        for mode in [NamespaceMode::Container, NamespaceMode::Target] {
            assert_eq!(refused(mapped(mode, 0, 1)).field, "n.userns_options.mode");
        }
        assert!(refused(mapped(NamespaceMode::Node, 0, 1)).reason.contains("no mappings"));
        let node = namespaces("n", Some(mapped(NamespaceMode::Node, 0, 0)), Owner::Sandbox);
        assert_eq!(node.unwrap().user, None);
    }

    #[test]
    fn a_user_namespace_does_not_go_with_the_nodes_network() {
        let mut options = mapped(NamespaceMode::Pod, 0, 1);
        options.network = NamespaceMode::Node.into();
        assert_eq!(refused(options).field, "n.userns_options");
    }

    #[test]
    fn network_and_ipc_are_the_pods_or_the_nodes() {
        for mode in [NamespaceMode::Container, NamespaceMode::Target] {
            let network = v1::NamespaceOption { network: mode.into(), ..Default::default() };
            assert_eq!(refused(network).field, "n.network");
            let ipc = v1::NamespaceOption { ipc: mode.into(), ..Default::default() };
            assert_eq!(refused(ipc).field, "n.ipc");
        }
        let unknown = v1::NamespaceOption { ipc: 77, ..Default::default() };
        assert!(refused(unknown).reason.contains("77"));
    }

    #[test]
    fn a_target_must_be_named_and_only_containers_have_one() {
        let target = |id: &str| v1::NamespaceOption {
            pid: NamespaceMode::Target.into(),
            target_id: id.into(),
            ..Default::default()
        };
        let ok = namespaces("n", Some(target("c1")), Owner::Container).unwrap();
        assert_eq!(ok.pid, PidSharing::Target(ContainerId::new("c1").unwrap()));
        assert!(namespaces("n", Some(target("")), Owner::Container).is_err());
        assert_eq!(refused(target("c1")).field, "n.pid");
    }

    #[test]
    fn a_mapping_stays_within_the_ids_there_are() {
        let beyond = v1::IdMapping { host_id: u32::MAX - 1, container_id: 0, length: 5 };
        assert!(id_mapping("m", &beyond).is_err());
        assert!(id_mapping("m", &v1::IdMapping::default()).is_err());
    }
}
