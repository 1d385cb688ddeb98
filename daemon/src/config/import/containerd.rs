// SPDX-License-Identifier: Apache-2.0
//! containerd's config.toml. Version 2 has all of the CRI in one plugin; from 3 on images and
//! runtimes have plugins of their own, and from 4 on the servers have.

use toml::Value;

use super::Import;

const CRI: &str = "io.containerd.grpc.v1.cri";
const RUNTIME: &str = "io.containerd.cri.v1.runtime";
const IMAGES: &str = "io.containerd.cri.v1.images";
const RUNC: &str = "io.containerd.runc.v2";

const RUNTIMES: &str = "runtimes";

pub(super) fn take(import: &mut Import) {
    import.ignore(&["version"]);
    import.leave_all(&["imports"], "import those files, too, one by one");
    import.duration(&["plugins", CRI, "stream_idle_timeout"], "api", "stream_idle_timeout");
    import.same(&["plugins", CRI, "stream_server_address"], "api", "stream_address");
    import.same(&["plugins", CRI, "stream_server_port"], "api", "stream_port");
    if import.pop(&["plugins", CRI, "enable_tls_streaming"]).is_some() {
        let at = |key| ["plugins", CRI, "x509_key_pair_streaming", key];
        let (chain, private) = (import.pop(&at("tls_cert_file")), import.pop(&at("tls_key_file")));
        if let (Some(chain), Some(private)) = (chain, private) {
            let pair = [("stream_tls_cert", chain), ("stream_tls_key", private)];
            import.set_all(&at("tls_cert_file"), "api", &pair);
        }
    }
    // crisp serves no TCP.
    import.ignore(&["plugins", CRI, "disable_tcp_service"]);
    for plugin in [CRI, IMAGES] {
        images(import, plugin);
    }
    for plugin in [CRI, RUNTIME] {
        runtimes(import, plugin);
    }
    metrics(import);
    import.same(&["debug", "level"], "runtime", "log_level");
    for path in [&["grpc"][..], &["plugins", "io.containerd.server.v1.grpc"]] {
        let at = |key| path.iter().copied().chain([key]).collect::<Vec<_>>();
        import.same(&at("max_recv_message_size"), "api", "grpc_max_recv_msg_size");
        import.same(&at("max_send_message_size"), "api", "grpc_max_send_msg_size");
        import.leave_all(
            path,
            "the kubelet has to be pointed at crisp's socket: --container-runtime-endpoint",
        );
    }
    rest(import);
}

fn images(import: &mut Import, plugin: &str) {
    import.same(
        &["plugins", plugin, "max_concurrent_downloads"],
        "image",
        "max_parallel_downloads",
    );
    import.duration(
        &["plugins", plugin, "image_pull_progress_timeout"],
        "image",
        "pull_progress_timeout",
    );
    let no_pause = "not needed: pods have no pause container";
    import.leave_all(&["plugins", plugin, "sandbox_image"], no_pause);
    import.leave_all(&["plugins", plugin, "pinned_images", "sandbox"], no_pause);
    let pinned = import.below(&["plugins", plugin, "pinned_images"]);
    let names: Vec<Value> = pinned
        .iter()
        .filter_map(|name| import.pop(&["plugins", plugin, "pinned_images", name]))
        .collect();
    if !names.is_empty() {
        let path = ["plugins", plugin, "pinned_images"];
        import.set(&path, "image", "pinned_images", Value::Array(names));
    }
    // Layers are files in a directory each, mounted by overlay: what this snapshotter does.
    if import.pop_text(&["plugins", plugin, "snapshotter"]).is_some_and(|s| s != "overlayfs") {
        import.leave(&["plugins", plugin, "snapshotter"], "crisp mounts layers by overlay");
    }
    import.ignore(&["plugins", plugin, "disable_snapshot_annotations"]);
    import.leave_all(
        &["plugins", plugin, "registry"],
        "mirrors and insecure registries go to registries.conf (containers-registries.conf(5))",
    );
}

fn runtimes(import: &mut Import, plugin: &str) {
    let base = ["plugins", plugin, "containerd"];
    if import
        .pop_text(&[base[0], base[1], base[2], "snapshotter"])
        .is_some_and(|snapshotter| snapshotter != "overlayfs")
    {
        import.leave(&[base[0], base[1], base[2], "snapshotter"], "crisp mounts layers by overlay");
    }
    for name in import.below(&[base[0], base[1], base[2], RUNTIMES]) {
        handler(import, plugin, &name);
    }
    import.same(&[base[0], base[1], base[2], "default_runtime_name"], "runtime", "default_runtime");
    let cni = ["plugins", plugin, "cni"];
    import.same(&[cni[0], cni[1], cni[2], "conf_dir"], "network", "network_dir");
    import.same(&[cni[0], cni[1], cni[2], "bin_dirs"], "network", "plugin_dirs");
    if let Some(dir) = import.pop(&[cni[0], cni[1], cni[2], "bin_dir"]) {
        let path = [cni[0], cni[1], cni[2], "bin_dir"];
        import.set(&path, "network", "plugin_dirs", Value::Array(vec![dir]));
    }
    // crisp takes the first, too.
    if import.leaves.get(&path(&[cni[0], cni[1], cni[2], "max_conf_num"]))
        == Some(&Value::Integer(1))
    {
        import.ignore(&[cni[0], cni[1], cni[2], "max_conf_num"]);
    }
    // What crisp does anyway.
    for key in ["enable_unprivileged_ports", "enable_unprivileged_icmp"] {
        import.ignore(&["plugins", plugin, key]);
    }
    if let Some(Value::Array(dirs)) = import.pop(&["plugins", plugin, "cdi_spec_dirs"]) {
        let usual = ["/etc/cdi", "/var/run/cdi"];
        if dirs.iter().any(|dir| !dir.as_str().is_some_and(|dir| usual.contains(&dir))) {
            import.leave(&["plugins", plugin, "cdi_spec_dirs"], super::NO_COUNTERPART);
        }
    }
}

fn handler(import: &mut Import, plugin: &str, name: &str) {
    let at = ["plugins", plugin, "containerd", RUNTIMES, name];
    let key = |key: &'static str| [at[0], at[1], at[2], at[3], at[4], key];
    let option = |key: &'static str| [at[0], at[1], at[2], at[3], at[4], "options", key];
    let table = format!("runtime.runtimes.{}", super::dotted(&[name.to_owned()]));
    import.taken.settings.entry(table.clone()).or_default();
    let kind = import.pop_text(&key("runtime_type")).unwrap_or_else(|| RUNC.to_owned());
    let shim_path = import.pop_text(&key("runtime_path"));
    if kind == RUNC {
        if shim_path.is_some() {
            import.leave(&key("runtime_path"), "not needed: crisp's own shim drives OCI runtimes");
        }
        let binary = import.pop_text(&option("BinaryName")).unwrap_or_else(|| "runc".to_owned());
        if binary != name {
            import.set(&option("BinaryName"), &table, "runtime_path", Value::String(binary));
        }
    } else {
        let program = shim_path.or_else(|| shim_binary(&kind));
        match program {
            Some(program) => {
                let word = if kind.contains("kata") { "vm" } else { "shim" };
                let keys = [("runtime_type", word.into()), ("runtime_path", program.into())];
                import.set_all(&key("runtime_type"), &table, &keys);
            }
            None => import.leave(&key("runtime_type"), &format!("{kind:?} names no shim")),
        }
    }
    if import.pop(&option("SystemdCgroup")).is_some() {
        import.set(
            &option("SystemdCgroup"),
            "runtime",
            "cgroup_manager",
            Value::String("systemd".into()),
        );
    }
    import.leave_all(&option("Root"), "containerd's own state lies there; crisp has its own");
    // The pod sandbox is made by crisp's shim.
    import.ignore(&key("sandboxer"));
}

/// The shim that a type such as `io.containerd.kata.v2` stands for.
fn shim_binary(kind: &str) -> Option<String> {
    let mut parts = kind.rsplit('.');
    let (version, name) = (parts.next()?, parts.next()?);
    parts.next()?;
    Some(format!("containerd-shim-{name}-{version}"))
}

fn metrics(import: &mut Import) {
    for path in [&["metrics"][..], &["plugins", "io.containerd.server.v1.metrics"]] {
        let at: Vec<&str> = path.iter().copied().chain(["address"]).collect();
        let Some(address) = import.pop_text(&at) else { continue };
        match address.rsplit_once(':').map(|(host, port)| (host.to_owned(), port.parse::<u16>())) {
            Some((host, Ok(port))) => {
                let host = host.trim_matches(['[', ']']).to_owned();
                let host = if host.is_empty() { "0.0.0.0".to_owned() } else { host };
                import.set(&at, "metrics", "enable_metrics", Value::Boolean(true));
                import.set(&at, "metrics", "metrics_host", Value::String(host));
                import.set(&at, "metrics", "metrics_port", Value::Integer(port.into()));
            }
            _ => import.leave(&at, &format!("{address:?} is no address with a port")),
        }
    }
}

/// Names what is left: what concerns the CRI key by key, other plugins as a whole.
fn rest(import: &mut Import) {
    for plugin in import.below(&["plugins"]) {
        if ![CRI, RUNTIME, IMAGES].contains(&plugin.as_str()) {
            import.leave_all(&["plugins", &plugin], "a plugin of containerd's");
        }
    }
    for table in ["timeouts", "stream_processors", "cgroup"] {
        import.leave_all(&[table], super::NO_COUNTERPART);
    }
    import.finish(|path| {
        Some(match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["root" | "state"] => "crisp's store is another format, in a place of its own",
            _ => return None,
        })
    });
}

fn path(parts: &[&str]) -> Vec<String> {
    parts.iter().map(|part| (*part).to_owned()).collect()
}
