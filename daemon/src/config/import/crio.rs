// SPDX-License-Identifier: Apache-2.0
//! crio.conf. Where crisp has a thing at all, it bears CRI-O's name.

use super::Import;

/// Keys taken over as they are: table below `crio`, key.
const SAME: [(&str, &str); 20] = [
    ("api", "grpc_max_recv_msg_size"),
    ("api", "grpc_max_send_msg_size"),
    ("api", "stream_address"),
    ("api", "stream_port"),
    ("runtime", "cgroup_manager"),
    ("runtime", "seccomp_profile"),
    ("image", "pinned_images"),
    ("image", "max_parallel_downloads"),
    ("network", "network_dir"),
    ("network", "plugin_dirs"),
    ("network", "cni_default_network"),
    ("metrics", "enable_metrics"),
    ("metrics", "metrics_host"),
    ("metrics", "metrics_port"),
    ("metrics", "metrics_socket"),
    ("nri", "enable_nri"),
    ("nri", "nri_listen"),
    ("nri", "nri_plugin_dir"),
    ("nri", "nri_plugin_config_dir"),
    ("nri", "nri_disable_connections"),
];

pub(super) fn take(import: &mut Import) {
    for (table, key) in SAME {
        import.same(&["crio", table, key], table, key);
    }
    let (cert, key) = (["crio", "api", "stream_tls_cert"], ["crio", "api", "stream_tls_key"]);
    if let (Some(chain), Some(private)) = (import.pop(&cert), import.pop(&key)) {
        let pair = [("stream_tls_cert", chain), ("stream_tls_key", private)];
        import.set_all(&cert, "api", &pair);
    }
    let level = ["crio", "runtime", "log_level"];
    if let Some(word) = import.pop_text(&level) {
        let word =
            if ["fatal", "panic"].contains(&word.as_str()) { "error".to_owned() } else { word };
        import.set(&level, "runtime", "log_level", word.into());
    }
    // CRI-O serves none by default, and crisp all.
    import.same(&["crio", "stats", "included_pod_metrics"], "stats", "included_pod_metrics");
    import.duration(&["crio", "api", "stream_idle_timeout"], "api", "stream_idle_timeout");
    import.duration(&["crio", "image", "pull_progress_timeout"], "image", "pull_progress_timeout");
    for key in ["nri_plugin_registration_timeout", "nri_plugin_request_timeout"] {
        import.duration(&["crio", "nri", key], "nri", key);
    }
    for name in import.below(&["crio", "runtime", "runtimes"]) {
        handler(import, &name);
    }
    import.same(&["crio", "runtime", "default_runtime"], "runtime", "default_runtime");
    import.leave_all(
        &["crio", "api", "listen"],
        "the kubelet has to be pointed at crisp's socket: --container-runtime-endpoint",
    );
    import.finish(|path| {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        Some(match path.as_slice() {
            ["crio", "root" | "runroot" | "imagestore" | "storage_driver" | "storage_option"] => {
                "crisp's store is another format, in a place of its own"
            }
            ["crio", "runtime", key] if key.contains("conmon") || key.contains("monitor") => {
                "not needed: crisp's shim takes conmon's place"
            }
            ["crio", "runtime", "pinns_path" | "namespaces_dir"] => {
                "not needed: the daemon pins namespaces itself"
            }
            ["crio", "runtime", "drop_infra_ctr"] => "not needed: there is no infra container",
            ["crio", "image", key] if key.starts_with("pause_") => {
                "not needed: pods have no pause container"
            }
            ["crio", "image", "insecure_registries" | "registries" | "default_transport"] => {
                "goes to registries.conf"
            }
            ["crio", "runtime", "ctr_stop_timeout"] => {
                "the kubelet says how long a container may take to stop"
            }
            _ => return None,
        })
    });
}

fn handler(import: &mut Import, name: &str) {
    let at = ["crio", "runtime", "runtimes", name];
    let path = |key: &'static str| [at[0], at[1], at[2], at[3], key];
    let table = format!("runtime.runtimes.{}", super::dotted(&[name.to_owned()]));
    // A handler with nothing but its name is one, too.
    import.taken.settings.entry(table.clone()).or_default();
    import.same(&path("runtime_path"), &table, "runtime_path");
    if let Some(kind) = import.pop_text(&path("runtime_type")) {
        match kind.as_str() {
            // A pod's monitor is what crisp's shim is for every pod.
            "oci" | "pod" => {}
            "vm" => import.set(&path("runtime_type"), &table, "runtime_type", "vm".into()),
            other => import.leave(&path("runtime_type"), &format!("{other:?} is not known")),
        }
    }
    if import.pop(&path("runtime_root")).is_some() {
        let why = "CRI-O's own state lies there; crisp has its own in runroot";
        import.leave(&path("runtime_root"), why);
    }
    for key in ["monitor_path", "monitor_cgroup", "monitor_env", "monitor_exec_cgroup"] {
        import.leave_all(&path(key), "not needed: crisp's shim takes the monitor's place");
    }
}
