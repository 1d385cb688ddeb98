// SPDX-License-Identifier: Apache-2.0
//! Puts the rooms together by the configuration and brings back the pods of the last daemon.

use std::{path::PathBuf, sync::Arc};

use crate::{
    cgroups::{Cgroups, Driver},
    config::{self, CgroupManager, Config, SystemdPresence},
    containers::{
        apparmor::{self, Offer},
        host::HostFacts,
    },
    files,
    handlers::{SHIM, Workshop},
    images::{Images, ImagesConfig, Patience},
    metrics::Metrics,
    network::{Network, Settings, cni::Choice},
    nri::{self, Nri},
    pods::{
        boot::Boot,
        context::{Context, ShimCgroup},
        events::Events,
        handler::ProbeError,
        index::Index,
        limits::Limits,
        names::Names,
        node::Node,
        ooms::{self, Ooms},
        progress::Progress,
        restore,
    },
    rootfs::Rootfs,
    sessions::{self, ticket::TlsFiles},
    shims::{self, EventServer, Launcher, Verbosity},
    store::Layout,
};

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
pub async fn begin(config: &Config, metrics: Metrics) -> Result<Node, StartError> {
    let layout = Layout::new(&config.root, &config.runroot);
    let private = [layout.root().to_owned(), layout.run().to_owned(), layout.sessions()];
    let shared = [layout.pods(), layout.containers(), layout.bundles(), layout.sockets()];
    for path in private.into_iter().chain(shared) {
        files::make_dir(&path, 0o711)
            .map_err(|source| StartError::Directory { path: path.clone(), source })?;
    }
    crate::network::netns::share(&layout.pods())?;
    let host = HostFacts::collect()?;
    let limits = Limits::new(&config.deadlines);
    let boot = Boot::note(layout.run());
    let workshop = Workshop { config, limits: &limits, cgroups: shim_driver(driver(config)) };
    let handlers = workshop.handlers().await?;
    let images = Images::open(images_config(config))?;
    let context = Arc::new(Context {
        rootfs: Rootfs::open(images.clone(), layout.root())?,
        images,
        network: Network::open(network_settings(config)).await?,
        cgroups: Cgroups::detect(driver(config))?,
        apparmor: Offer {
            enabled: host.apparmor,
            default: apparmor::provide(host.apparmor, layout.run()).await,
        },
        host,
        handlers,
        launcher: Launcher::new(
            config.runtime.shim_namespace.clone(),
            events_socket(&layout),
            std::env::current_exe().unwrap_or_default(),
            Verbosity::Normal,
        ),
        progress: Progress::new(limits.clone(), metrics.clone()),
        metrics,
        boot,
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
        ooms: Ooms::default(),
        layout,
    });
    hear_shims(&context).await;
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

/// Listens to what shims publish. Nothing depends on it but the reason of an exit: a daemon that
/// cannot listen goes on.
async fn hear_shims(context: &Arc<Context>) {
    let socket = events_socket(&context.layout);
    match EventServer::bind(&socket).await {
        Ok(server) => {
            let (hints, context) = (server.subscribe(), context.clone());
            tokio::spawn(async move {
                ooms::listen(context, hints).await;
                server.shutdown().await;
            });
        }
        Err(error) => tracing::warn!(%error, "events of shims are not heard"),
    }
}

fn events_socket(layout: &Layout) -> PathBuf {
    layout.run().join("events.sock")
}

/// How the image room is run.
#[must_use]
pub fn images_config(config: &Config) -> ImagesConfig {
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
        status_deadline: config.deadlines.cni_status,
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

fn shim_driver(driver: Driver) -> shims::CgroupDriver {
    match driver {
        Driver::Cgroupfs => shims::CgroupDriver::Cgroupfs,
        Driver::Systemd => shims::CgroupDriver::Systemd,
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
