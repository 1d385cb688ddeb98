// SPDX-License-Identifier: Apache-2.0
//! What a client must see again, it sees again unchanged; and nothing the domain knows is lost on
//! the way out and in.

use std::collections::HashMap;

use crisp_cri as v1;
use proptest::{collection::vec, option, prelude::*};

use super::*;

fn word() -> impl Strategy<Value = String> {
    "[a-z0-9\u{e9}\u{4e2d}/. -]{1,8}"
}

fn map() -> impl Strategy<Value = HashMap<String, String>> {
    proptest::collection::hash_map(any::<String>(), any::<String>(), 0..4)
}

fn path() -> impl Strategy<Value = String> {
    "/[a-z.\u{e9} ]{1,6}(/[a-z]{1,4}){0,2}"
}

prop_compose! {
    fn id_mapping()(host_id in 0u32..1 << 31, container_id in 0u32..1 << 30, length in 1u32..1 << 30)
        -> v1::IdMapping {
        v1::IdMapping { host_id, container_id, length }
    }
}

prop_compose! {
    fn namespaces()(
        network in prop_oneof![Just(0), Just(2)],
        ipc in prop_oneof![Just(0), Just(2)],
        pid in 0i32..4,
        target in "[a-f0-9]{64}",
        user in option::of((id_mapping(), id_mapping())),
    ) -> v1::NamespaceOption {
        let root = |m: v1::IdMapping| vec![v1::IdMapping { container_id: 0, ..m }];
        v1::NamespaceOption {
            network,
            pid,
            ipc,
            target_id: if pid == 3 { target } else { String::new() },
            userns_options: user
                .filter(|_| network == 0)
                .map(|(u, g)| v1::UserNamespace { mode: 0, uids: root(u), gids: root(g) }),
        }
    }
}

prop_compose! {
    fn image()(image in word(), annotations in map(), user_specified_image in any::<String>(), runtime_handler in any::<String>())
        -> v1::ImageSpec {
        v1::ImageSpec { image, annotations, user_specified_image, runtime_handler, image_ref: String::new() }
    }
}

prop_compose! {
    fn mount()(
        container_path in path(),
        host_path in path(),
        access in 0..3,
        selinux_relabel in any::<bool>(),
        propagation in 0i32..3,
        mappings in option::of((id_mapping(), id_mapping())),
        image in option::of((image(), "[a-z/]{0,6}")),
        mount_options in proptest::sample::subsequence(vec!["noexec", "nodev", "nosuid"], 0..=3),
    ) -> v1::Mount {
        let readonly = access > 0 || image.is_some();
        let (uid_mappings, gid_mappings) =
            mappings.map(|(u, g)| (vec![u], vec![g])).unwrap_or_default();
        let (image, image_sub_path) = match image {
            Some((image, sub)) => (Some(image), sub.trim_start_matches('/').to_owned()),
            None => (None, String::new()),
        };
        v1::Mount {
            container_path,
            host_path: if image.is_some() { String::new() } else { host_path },
            readonly,
            selinux_relabel,
            propagation,
            uid_mappings,
            gid_mappings,
            recursive_read_only: access == 2 && propagation == 0,
            image,
            image_sub_path,
            mount_options: mount_options.into_iter().map(str::to_owned).collect(),
        }
    }
}

prop_compose! {
    fn limits()(
        numbers in any::<[i64; 6]>(),
        sets in any::<(String, String)>(),
        huge in vec((any::<String>(), any::<u64>()), 0..3),
        unified in map(),
    ) -> v1::LinuxContainerResources {
        v1::LinuxContainerResources {
            cpu_period: numbers[0],
            cpu_quota: numbers[1],
            cpu_shares: numbers[2],
            memory_limit_in_bytes: numbers[3],
            oom_score_adj: numbers[4],
            memory_swap_limit_in_bytes: numbers[5],
            cpuset_cpus: sets.0,
            cpuset_mems: sets.1,
            hugepage_limits: huge
                .into_iter()
                .map(|(page_size, limit)| v1::HugepageLimit { page_size, limit })
                .collect(),
            unified,
        }
    }
}

fn profile() -> impl Strategy<Value = Option<v1::SecurityProfile>> {
    let message = (0i32..3, path()).prop_map(|(profile_type, localhost_ref)| v1::SecurityProfile {
        profile_type,
        localhost_ref,
    });
    option::of(message)
}

prop_compose! {
    fn container()(
        (name, attempt) in (word(), any::<u32>()),
        image in image(),
        (command, args) in (vec(word(), 0..3), vec(word(), 0..3)),
        envs in vec(("[A-Za-z_.]{1,8}", vec(1u8.., 0..6)), 0..4),
        mounts in vec(mount(), 0..4),
        (labels, annotations) in (map(), map()),
        (stdin, once, tty) in any::<(bool, bool, bool)>(),
        resources in option::of(limits()),
        namespace_options in option::of(namespaces()),
        (user, group, groups) in (option::of(0i64..1 << 31), option::of(0i64..1 << 31), vec(0i64..1 << 31, 0..3)),
        (seccomp, apparmor) in (profile(), profile()),
        (stop_signal, policy) in (0i32..66, 0i32..2),
    ) -> v1::ContainerConfig {
        let int = |value| v1::Int64Value { value };
        v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata { name, attempt }),
            image: Some(image),
            command,
            args,
            envs: envs.into_iter().map(|(key, value)| v1::KeyValue { key, value }).collect(),
            mounts,
            labels,
            annotations,
            stdin,
            stdin_once: stdin && once,
            tty,
            linux: Some(v1::LinuxContainerConfig {
                resources,
                security_context: Some(v1::LinuxContainerSecurityContext {
                    namespace_options,
                    run_as_user: user.map(int),
                    run_as_group: group.filter(|_| user.is_some()).map(int),
                    supplemental_groups: groups,
                    supplemental_groups_policy: policy,
                    seccomp,
                    apparmor,
                    ..Default::default()
                }),
            }),
            stop_signal,
            ..Default::default()
        }
    }
}

prop_compose! {
    fn pod()(
        (name, uid, namespace, attempt) in (word(), word(), word(), any::<u32>()),
        hostname in "[a-z]{0,9}",
        dns in option::of((vec(word(), 1..3), vec(word(), 0..3), vec(word(), 0..3))),
        ports in vec((0i32..3, 1i32..65536, 1i32..65536), 0..3),
        (labels, annotations) in (map(), map()),
        namespace_options in option::of(namespaces()),
        (overhead, resources) in (option::of(limits()), option::of(limits())),
        seccomp in profile(),
    ) -> v1::PodSandboxConfig {
        let namespace_options = namespace_options
            .map(|n| if n.pid == 3 { v1::NamespaceOption { pid: 1, target_id: String::new(), ..n } } else { n });
        v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata { name, uid, namespace, attempt }),
            hostname,
            log_directory: "/var/log/pods/x".into(),
            dns_config: dns
                .map(|(servers, searches, options)| v1::DnsConfig { servers, searches, options }),
            port_mappings: ports
                .into_iter()
                .map(|(protocol, container_port, host_port)| v1::PortMapping {
                    protocol,
                    container_port,
                    host_port,
                    host_ip: "::1".into(),
                })
                .collect(),
            labels,
            annotations,
            linux: Some(v1::LinuxPodSandboxConfig {
                cgroup_parent: "/kubepods/pod1".into(),
                security_context: Some(v1::LinuxSandboxSecurityContext {
                    namespace_options,
                    seccomp,
                    ..Default::default()
                }),
                sysctls: [("net.core.somaxconn".to_owned(), "9".to_owned())].into(),
                overhead,
                resources,
            }),
            windows: None,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_container_is_echoed_as_it_was_asked_for(given in container()) {
        let domain = container_config(Some(given.clone())).unwrap();
        let back = container_config_to_cri(&domain);
        prop_assert_eq!(&back.metadata, &given.metadata);
        prop_assert_eq!(&back.image, &given.image);
        prop_assert_eq!(&back.envs, &given.envs);
        prop_assert_eq!(&back.mounts, &given.mounts);
        prop_assert_eq!(&back.labels, &given.labels);
        prop_assert_eq!(&back.annotations, &given.annotations);
        let linux = given.linux.as_ref().unwrap();
        let back_linux = back.linux.as_ref().unwrap();
        prop_assert_eq!(
            back_linux.resources.clone(),
            Some(linux.resources.clone().unwrap_or_default())
        );
        let security = linux.security_context.as_ref().unwrap();
        let back_security = back_linux.security_context.as_ref().unwrap();
        prop_assert_eq!(
            back_security.namespace_options.clone(),
            Some(security.namespace_options.clone().unwrap_or_default())
        );
        prop_assert_eq!(back_security.run_as_user, security.run_as_user);
        prop_assert_eq!(back_security.run_as_group, security.run_as_group);
        prop_assert_eq!(container_config(Some(back)).unwrap(), domain);
    }

    #[test]
    fn a_pod_is_echoed_as_it_was_asked_for(given in pod()) {
        let domain = pod_config(Some(given.clone())).unwrap();
        let back = pod_config_to_cri(&domain);
        prop_assert_eq!(&back.metadata, &given.metadata);
        prop_assert_eq!(&back.labels, &given.labels);
        prop_assert_eq!(&back.annotations, &given.annotations);
        prop_assert_eq!(&back.dns_config, &given.dns_config);
        prop_assert_eq!(&back.port_mappings, &given.port_mappings);
        let linux = given.linux.as_ref().unwrap();
        let back_linux = back.linux.as_ref().unwrap();
        prop_assert_eq!(&back_linux.overhead, &linux.overhead);
        prop_assert_eq!(&back_linux.resources, &linux.resources);
        prop_assert_eq!(
            back_linux.security_context.clone().unwrap().namespace_options,
            Some(linux.security_context.clone().unwrap().namespace_options.unwrap_or_default())
        );
        prop_assert_eq!(pod_config(Some(back)).unwrap(), domain);
    }
}
