// SPDX-License-Identifier: Apache-2.0

use std::{net::IpAddr, path::PathBuf};

use crisp_cri as v1;

use super::{
    namespaces::{Owner, namespaces, namespaces_to_cri},
    profile::{profile_to_cri, seccomp, selinux, selinux_to_cri},
    resources::{resources, resources_to_cri},
    scalars::{Invalid, absolute, kernel_id, no_nul, pairs, path_text, to_map, unknown_number},
    user::{group_without_user, groups},
};
use crate::pods::spec::{
    DnsConfig, Pairs, PodConfig, PodMetadata, PortMapping, Privilege, Protocol,
};

/// Longest host name the kernel takes, bytes.
const HOSTNAME_MAX: usize = 64;

/// A pod, from the wire.
///
/// # Errors
/// [`Invalid`] names the field; paths begin with `config`.
#[expect(deprecated, reason = "older clients fill only the string fields")]
pub fn pod_config(config: Option<v1::PodSandboxConfig>) -> Result<PodConfig, Invalid> {
    let config = config.ok_or_else(|| Invalid::new("config", "is missing"))?;
    let linux = config.linux.unwrap_or_default();
    let security = linux.security_context.unwrap_or_default();
    let at = "config.linux.security_context";
    if security.run_as_group.is_some() && security.run_as_user.is_none() {
        return Err(group_without_user(at));
    }
    for (name, id) in
        [("run_as_user", security.run_as_user), ("run_as_group", security.run_as_group)]
    {
        id.map(|v| kernel_id(&format!("{at}.{name}"), v.value)).transpose()?;
    }
    Ok(PodConfig {
        metadata: metadata(config.metadata)?,
        hostname: hostname(config.hostname)?,
        log_directory: log_directory(config.log_directory)?,
        dns: config.dns_config.and_then(dns),
        port_mappings: port_mappings(config.port_mappings)?,
        labels: pairs(config.labels),
        annotations: pairs(config.annotations),
        cgroup_parent: cgroup_parent(linux.cgroup_parent)?,
        sysctls: sysctls(pairs(linux.sysctls))?,
        namespaces: namespaces(
            &format!("{at}.namespace_options"),
            security.namespace_options,
            Owner::Sandbox,
        )?,
        privilege: privilege(security.privileged),
        seccomp: seccomp(at, security.seccomp, &security.seccomp_profile_path)?,
        selinux: security.selinux_options.map(selinux),
        supplemental_groups: groups(at, &security.supplemental_groups)?,
        overhead: linux.overhead.map(resources),
        resources: linux.resources.map(resources),
    })
}

fn metadata(metadata: Option<v1::PodSandboxMetadata>) -> Result<PodMetadata, Invalid> {
    let given = metadata.ok_or_else(|| Invalid::new("config.metadata", "is missing"))?;
    let v1::PodSandboxMetadata { name, uid, namespace, attempt } = given;
    for (field, text) in [("name", &name), ("uid", &uid), ("namespace", &namespace)] {
        if text.is_empty() {
            return Err(Invalid::new(format!("config.metadata.{field}"), "is empty"));
        }
    }
    Ok(PodMetadata { name, uid, namespace, attempt })
}

fn hostname(name: String) -> Result<String, Invalid> {
    no_nul("config.hostname", name.as_bytes())?;
    if name.len() > HOSTNAME_MAX {
        let reason = format!("{name:?} is longer than {HOSTNAME_MAX} bytes");
        return Err(Invalid::new("config.hostname", reason));
    }
    Ok(name)
}

fn log_directory(path: String) -> Result<PathBuf, Invalid> {
    if path.is_empty() { Ok(PathBuf::new()) } else { absolute("config.log_directory", path) }
}

/// Empty settings mean the same as none: the host's.
fn dns(config: v1::DnsConfig) -> Option<DnsConfig> {
    let v1::DnsConfig { servers, searches, options } = config;
    let empty = servers.is_empty() && searches.is_empty() && options.is_empty();
    (!empty).then_some(DnsConfig { servers, searches, options })
}

fn port_mappings(mappings: Vec<v1::PortMapping>) -> Result<Vec<PortMapping>, Invalid> {
    let mut published = Vec::new();
    for (n, mapping) in mappings.into_iter().enumerate() {
        let at = format!("config.port_mappings[{n}]");
        let mapping = port_mapping(&at, &mapping)?;
        // A port that is not published needs no action.
        if mapping.host_port != 0 {
            published.push(mapping);
        }
    }
    Ok(published)
}

fn port_mapping(at: &str, mapping: &v1::PortMapping) -> Result<PortMapping, Invalid> {
    let port = |field: &str, port: i32| {
        u16::try_from(port)
            .map_err(|_| Invalid::new(format!("{at}.{field}"), format!("{port} is no port number")))
    };
    let protocol = v1::Protocol::try_from(mapping.protocol)
        .map_err(|e| unknown_number(&format!("{at}.protocol"), e.0))?;
    let host_ip = match mapping.host_ip.as_str() {
        "" => None,
        text => Some(text.parse::<IpAddr>().map_err(|_| {
            Invalid::new(format!("{at}.host_ip"), format!("{text:?} is no IP address"))
        })?),
    };
    let container_port = port("container_port", mapping.container_port)?;
    let host_port = port("host_port", mapping.host_port)?;
    if container_port == 0 && host_port != 0 {
        return Err(Invalid::new(format!("{at}.container_port"), "0 is no port number"));
    }
    Ok(PortMapping {
        protocol: match protocol {
            v1::Protocol::Tcp => Protocol::Tcp,
            v1::Protocol::Udp => Protocol::Udp,
            v1::Protocol::Sctp => Protocol::Sctp,
        },
        container_port,
        host_port,
        host_ip,
    })
}

fn cgroup_parent(path: String) -> Result<String, Invalid> {
    let field = "config.linux.cgroup_parent";
    no_nul(field, path.as_bytes())?;
    if path.split('/').any(|part| part == "..") {
        return Err(Invalid::new(field, format!("{path:?} leads upwards")));
    }
    Ok(path)
}

/// Names become paths below `/proc/sys`, so they must not lead out of it.
fn sysctls(sysctls: Pairs) -> Result<Pairs, Invalid> {
    for name in sysctls.keys() {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | '_' | '-' | ':');
        let upwards = name.split(['.', '/']).any(str::is_empty);
        if name.is_empty() || upwards || !name.chars().all(legal) {
            let field = format!("config.linux.sysctls[{name:?}]");
            return Err(Invalid::new(field, "is no name of a sysctl"));
        }
    }
    Ok(sysctls)
}

pub(super) fn privilege(privileged: bool) -> Privilege {
    if privileged { Privilege::Privileged } else { Privilege::Confined }
}

/// A pod's identity, to the wire.
#[must_use]
pub fn pod_metadata_to_cri(metadata: &PodMetadata) -> v1::PodSandboxMetadata {
    v1::PodSandboxMetadata {
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        namespace: metadata.namespace.clone(),
        attempt: metadata.attempt,
    }
}

/// A pod, to the wire.
#[must_use]
pub fn pod_config_to_cri(config: &PodConfig) -> v1::PodSandboxConfig {
    v1::PodSandboxConfig {
        metadata: Some(pod_metadata_to_cri(&config.metadata)),
        hostname: config.hostname.clone(),
        log_directory: path_text(&config.log_directory),
        dns_config: config.dns.as_ref().map(|dns| v1::DnsConfig {
            servers: dns.servers.clone(),
            searches: dns.searches.clone(),
            options: dns.options.clone(),
        }),
        port_mappings: config.port_mappings.iter().map(port_mapping_to_cri).collect(),
        labels: to_map(&config.labels),
        annotations: to_map(&config.annotations),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: config.cgroup_parent.clone(),
            security_context: Some(security_to_cri(config)),
            sysctls: to_map(&config.sysctls),
            overhead: config.overhead.as_ref().map(resources_to_cri),
            resources: config.resources.as_ref().map(resources_to_cri),
        }),
        windows: None,
    }
}

fn security_to_cri(config: &PodConfig) -> v1::LinuxSandboxSecurityContext {
    v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces_to_cri(&config.namespaces)),
        selinux_options: config.selinux.as_ref().map(selinux_to_cri),
        supplemental_groups: config.supplemental_groups.iter().map(|g| i64::from(*g)).collect(),
        privileged: config.privilege == Privilege::Privileged,
        seccomp: Some(profile_to_cri(&config.seccomp)),
        ..Default::default()
    }
}

fn port_mapping_to_cri(mapping: &PortMapping) -> v1::PortMapping {
    let protocol = match mapping.protocol {
        Protocol::Tcp => v1::Protocol::Tcp,
        Protocol::Udp => v1::Protocol::Udp,
        Protocol::Sctp => v1::Protocol::Sctp,
    };
    v1::PortMapping {
        protocol: protocol.into(),
        container_port: mapping.container_port.into(),
        host_port: mapping.host_port.into(),
        host_ip: mapping.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::spec::{Namespaces, SecurityProfile};

    fn smallest() -> v1::PodSandboxConfig {
        v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: "n".into(),
                uid: "u".into(),
                namespace: "s".into(),
                attempt: 0,
            }),
            ..Default::default()
        }
    }

    #[track_caller]
    fn refused(config: v1::PodSandboxConfig, field: &str) {
        let error = pod_config(Some(config)).expect_err("was accepted");
        assert_eq!(error.field, field, "{error}");
    }

    fn security(security: v1::LinuxSandboxSecurityContext) -> v1::PodSandboxConfig {
        let linux =
            v1::LinuxPodSandboxConfig { security_context: Some(security), ..Default::default() };
        v1::PodSandboxConfig { linux: Some(linux), ..smallest() }
    }

    #[test]
    fn metadata_is_all_a_pod_needs() {
        let pod = pod_config(Some(smallest())).unwrap();
        assert_eq!(pod.namespaces, Namespaces::default());
        assert_eq!(pod.seccomp, SecurityProfile::Unconfined);
        assert_eq!(pod.dns, None);
    }

    #[test]
    fn a_pod_without_identity_is_refused() {
        assert_eq!(pod_config(None).unwrap_err().field, "config");
        refused(v1::PodSandboxConfig::default(), "config.metadata");
        let mut config = smallest();
        config.metadata.as_mut().unwrap().uid.clear();
        refused(config, "config.metadata.uid");
    }

    #[test]
    fn a_group_without_a_user_is_refused() {
        let group = v1::LinuxSandboxSecurityContext {
            run_as_group: Some(v1::Int64Value { value: 1 }),
            ..Default::default()
        };
        refused(security(group), "config.linux.security_context.run_as_group");
    }

    #[test]
    fn ports_that_are_not_published_are_dropped() {
        let port =
            |host_port| v1::PortMapping { container_port: 80, host_port, ..Default::default() };
        let config =
            v1::PodSandboxConfig { port_mappings: vec![port(0), port(8080)], ..smallest() };
        let pod = pod_config(Some(config)).unwrap();
        assert_eq!(pod.port_mappings.len(), 1);
        assert_eq!(pod.port_mappings[0].host_port, 8080);
        for (bad, field) in [
            (v1::PortMapping { protocol: 4, ..port(1) }, "protocol"),
            (v1::PortMapping { host_ip: "localhost".into(), ..port(1) }, "host_ip"),
            (port(65536), "host_port"),
            (v1::PortMapping { container_port: 0, ..port(1) }, "container_port"),
        ] {
            let config = v1::PodSandboxConfig { port_mappings: vec![bad], ..smallest() };
            refused(config, &format!("config.port_mappings[0].{field}"));
        }
    }

    #[test]
    fn empty_dns_settings_are_the_hosts() {
        let config =
            v1::PodSandboxConfig { dns_config: Some(v1::DnsConfig::default()), ..smallest() };
        assert_eq!(pod_config(Some(config)).unwrap().dns, None);
    }

    #[test]
    fn what_would_lead_out_of_its_place_is_refused() {
        for name in ["", "kernel..shm", "net/../../x", "a b", ".x", "/x"] {
            let linux = v1::LinuxPodSandboxConfig {
                sysctls: [(name.to_owned(), "1".to_owned())].into(),
                ..Default::default()
            };
            let config = v1::PodSandboxConfig { linux: Some(linux), ..smallest() };
            refused(config, &format!("config.linux.sysctls[{name:?}]"));
        }
        let linux =
            v1::LinuxPodSandboxConfig { cgroup_parent: "/a/../..".into(), ..Default::default() };
        refused(
            v1::PodSandboxConfig { linux: Some(linux), ..smallest() },
            "config.linux.cgroup_parent",
        );
        refused(
            v1::PodSandboxConfig { log_directory: "logs".into(), ..smallest() },
            "config.log_directory",
        );
        refused(v1::PodSandboxConfig { hostname: "x".repeat(65), ..smallest() }, "config.hostname");
    }
}
