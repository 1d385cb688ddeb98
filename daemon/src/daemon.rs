// SPDX-License-Identifier: Apache-2.0
//! Puts the rooms together by the configuration and brings back the pods of the last daemon.

use std::{path::PathBuf, sync::Arc};

use crate::{
    cgroups::{Cgroups, Driver},
    config::{self, CgroupManager, Config, RuntimeType, SystemdPresence},
    containers::host::HostFacts,
    files,
    images::{Images, ImagesConfig, Patience},
    network::{Network, Settings, cni::Choice},
    nri::{self, Nri},
    pods::{
        context::{Context, ShimCgroup},
        events::Events,
        handler::{Handler, Handlers, OciRuntime, ProbeError},
        index::Index,
        limits::Limits,
        names::Names,
        node::Node,
        restore, shim,
    },
    rootfs::Rootfs,
    sessions::{self, ticket::TlsFiles},
    shims::{Launcher, Verbosity},
    store::Layout,
};

/// Name of crisp's own shim.
const SHIM: &str = "containerd-shim-crisp-v1";

/// Why the daemon cannot begin. Each names the thing and the cause.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A directory.
    #[error("cannot make {path}: {source}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// No usable OCI runtime.
    #[error(transparent)]
    Handlers(#[from] config::HandlerError),
    /// The default OCI runtime does not work.
    #[error("default runtime handler {name:?}: {source}")]
    DefaultHandler {
        /// The handler.
        name: String,
        /// Cause.
        source: ProbeError,
    },
    /// The shim binary is missing.
    #[error("{SHIM} is neither beside this program nor on PATH; set [runtime] shim_path")]
    NoShim,
    /// Facts of the host.
    #[error(transparent)]
    Host(#[from] crate::containers::host::HostError),
    /// cgroups.
    #[error(transparent)]
    Cgroups(#[from] crate::cgroups::CgroupError),
    /// Mounts that must be seen by others.
    #[error(transparent)]
    Share(#[from] crate::network::netns::NetnsError),
    /// Image store.
    #[error("image store: {0}")]
    Images(#[from] crate::images::ImageError),
    /// Plugins.
    #[error("plugins: {0}; see [nri]")]
    Nri(#[from] nri::OpenError),
    /// Network.
    #[error("network: {0}")]
    Network(#[from] crate::network::NetworkError),
}

/// The node as the configuration states it, with all pods that outlived the last daemon.
///
/// # Errors
/// [`StartError`]. A single bad pod, handler or network is not one: it is logged.
pub async fn begin(config: &Config) -> Result<Node, StartError> {
    let layout = Layout::new(&config.root, &config.runroot);
    let private = [layout.root().to_owned(), layout.run().to_owned(), layout.sessions()];
    let shared = [layout.pods(), layout.containers(), layout.bundles(), layout.sockets()];
    for path in private.into_iter().chain(shared) {
        files::make_dir(&path, 0o711)
            .map_err(|source| StartError::Directory { path: path.clone(), source })?;
    }
    crate::network::netns::share(&layout.pods())?;
    let host = HostFacts::collect()?;
    let limits = limits(config);
    let handlers = handlers(config, &limits).await?;
    let images = Images::open(images_config(config))?;
    let context = Arc::new(Context {
        rootfs: Rootfs::open(images.clone(), layout.root())?,
        images,
        network: Network::open(network_settings(config)).await?,
        cgroups: Cgroups::detect(driver(config))?,
        host,
        handlers,
        launcher: Launcher::new(
            config.runtime.shim_namespace.clone(),
            layout.run().join("events.sock"),
            std::env::current_exe().unwrap_or_default(),
            Verbosity::Normal,
        ),
        limits,
        sockets: layout.sockets(),
        default_seccomp: config.runtime.seccomp_profile.clone(),
        shim_cgroup: match config.runtime.shim_cgroup.as_str() {
            "pod" => ShimCgroup::Pod,
            path => ShimCgroup::Path(path.to_owned()),
        },
        events: Events::default(),
        index: Index::default(),
        names: Names::default(),
        nri: Nri::default(),
        layout,
    });
    let restored = restore::restore(&context).await;
    // Listed before the first request: what is made from now on is no left-over.
    let left = restore::left_over(&context, &restored).await;
    tokio::spawn(left.clean_up(context.clone()));
    let node = Node::new(context, restored);
    Ok(node)
}

/// Starts plugins and lets others connect, if the configuration has it so. What is returned keeps
/// their socket.
///
/// # Errors
/// [`StartError::Nri`]; a plugin that fails is none.
pub async fn open_nri(config: &Config, node: &Node) -> Result<Option<nri::Socket>, StartError> {
    let section = &config.nri;
    if !section.enable_nri {
        return Ok(None);
    }
    let settings = nri::Settings {
        socket: (!section.nri_disable_connections).then(|| section.nri_listen.clone()),
        plugin_dir: section.nri_plugin_dir.clone(),
        config_dir: section.nri_plugin_config_dir.clone(),
        registration: section.nri_plugin_registration_timeout,
        request: section.nri_plugin_request_timeout,
    };
    Ok(nri::open(&node.context, settings).await?)
}

fn images_config(config: &Config) -> ImagesConfig {
    let image = &config.image;
    let ours = Patience::default();
    let answer = config.deadlines.registry;
    let silence = image.pull_progress_timeout.map_or(answer, |progress| progress.min(answer));
    ImagesConfig {
        registries_conf: image.registries_conf.clone(),
        pinned: image.pinned_images.clone(),
        parallel_layers: usize::try_from(image.max_parallel_downloads.get()).unwrap_or(1),
        patience: Patience { connect: ours.connect.min(answer), silence, ..ours },
        ..ImagesConfig::new(&config.root)
    }
}

fn network_settings(config: &Config) -> Settings {
    let network = &config.network;
    Settings {
        network_dir: network.network_dir.clone(),
        plugin_dirs: network.plugin_dirs.clone(),
        choice: match network.cni_default_network.as_str() {
            "" => Choice::First,
            name => Choice::Named(name.to_owned()),
        },
        state_dir: config.root.join("network"),
        run_dir: config.runroot.join("network"),
        deadline: config.deadlines.cni,
    }
}

/// How sessions are reached.
#[must_use]
pub fn session_settings(config: &Config) -> sessions::Settings {
    let api = &config.api;
    let tls = api.stream_tls_cert.clone().zip(api.stream_tls_key.clone());
    sessions::Settings {
        address: api.stream_address,
        ports: sessions::Ports { first: api.stream_port.first, last: api.stream_port.last },
        tls: tls.map(|(certificate, key)| TlsFiles { certificate, key }),
        stall: api.stream_idle_timeout,
    }
}

fn limits(config: &Config) -> Limits {
    let table = &config.deadlines;
    Limits {
        shim_start: table.shim_start,
        shim_call: table.shim_call,
        runtime: table.runtime,
        kill: table.kill,
        drain: Limits::default().drain,
        reconnect: table.restart.min(Limits::default().reconnect),
    }
}

fn driver(config: &Config) -> Driver {
    let systemd = match std::path::Path::new("/run/systemd/system").exists() {
        true => SystemdPresence::Running,
        false => SystemdPresence::Absent,
    };
    match config.runtime.cgroup_manager.on(systemd) {
        CgroupManager::Systemd => Driver::Systemd,
        CgroupManager::Cgroupfs | CgroupManager::Auto => Driver::Cgroupfs,
    }
}

async fn handlers(config: &Config, limits: &Limits) -> Result<Handlers, StartError> {
    let resolved = config::Handlers::resolve(config, config::find_program)?;
    for error in resolved.missing() {
        tracing::warn!(%error, "handler is not usable");
    }
    let binary = config.runtime.shim_path.clone().or_else(|| shim::find_binary(SHIM));
    let binary = binary.ok_or(StartError::NoShim)?;
    let mut usable = Vec::new();
    let mut default = None;
    for handler in resolved.iter() {
        let is_default = handler.name == resolved.default_handler().name;
        match probe(handler, &binary, limits).await {
            Ok(handler) if is_default => default = Some(handler),
            Ok(handler) => usable.push(handler),
            // Without configuration, the first that works is the default.
            Err(source) if is_default && !config.runtime.default_runtime.is_empty() => {
                return Err(StartError::DefaultHandler { name: handler.name.clone(), source });
            }
            Err(error) => tracing::warn!(handler = handler.name, %error, "handler not usable"),
        }
    }
    let default = match default {
        Some(default) => default,
        None if !usable.is_empty() => usable.remove(0),
        None => return Err(config::HandlerError::NoRuntime.into()),
    };
    Ok(Handlers::new(default, usable))
}

async fn probe(
    handler: &config::Handler,
    shim: &std::path::Path,
    limits: &Limits,
) -> Result<Handler, ProbeError> {
    if handler.kind != RuntimeType::Oci {
        return Err(ProbeError::NotServed(handler.program.clone()));
    }
    let runtime = OciRuntime {
        kind: crisp_runtimes::Kind::of_binary(&handler.program),
        binary: handler.program.clone(),
        root: handler.state_root.clone(),
    };
    let abilities = Handler::probe(&runtime, limits.shim_call).await?;
    Ok(Handler { name: handler.name.clone(), shim: shim.to_owned(), runtime, abilities })
}
