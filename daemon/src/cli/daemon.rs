// SPDX-License-Identifier: Apache-2.0

use std::{num::NonZeroUsize, os::fd::OwnedFd, path::PathBuf, thread, time::Duration};

use anyhow::{Context, bail};
use sd_notify::NotifyState;
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{
    config::{self, Config},
    cri::Cri,
    daemon,
    logging::Log,
    metrics::{self, Metrics},
    pods::node::Node,
    server::{Activity, Lock, Socket, serve, watchdog},
    sessions::Sessions,
    stats::Collector,
    sys::{handed, heap},
};

/// Most threads that answer calls; a large host does not mean many calls.
const MOST_WORKERS: usize = 8;

/// Free memory is given back at most this often.
const TRIM_PERIOD: Duration = Duration::from_secs(30);

/// Serves CRI until SIGTERM or SIGINT.
pub(super) fn run(file: Option<PathBuf>) -> anyhow::Result<()> {
    let config = config::load(file.as_deref())?;
    let log = Log::start(&config.runtime)?;
    if !rustix::process::geteuid().is_root() {
        bail!("the daemon must run as root: it makes namespaces, mounts and cgroups");
    }
    heap::limit_arenas();
    let _root = Lock::take(&config.root)?;
    let _runroot = Lock::take(&config.runroot)?;
    // Changes the environment: no thread may be there yet.
    let handed = handed::take().context("the sockets that the service manager handed over")?;
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(MOST_WORKERS))
        .enable_all()
        .build()
        .context("cannot start the daemon's threads")?
        .block_on(until_told(file, config, log, handed))
}

async fn until_told(
    file: Option<PathBuf>,
    config: Config,
    log: Log,
    handed: Vec<OwnedFd>,
) -> anyhow::Result<()> {
    // Before anything takes long, so that no signal is lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let hangup = signal(SignalKind::hangup())?;

    let counters = Metrics::default();
    let node = daemon::begin(&config, counters.clone()).await?;
    // Plugins know all pods before anyone can ask for new ones.
    let _plugins = daemon::open_nri(&config, &node).await?;
    serve_metrics(&config, &counters, &node).await;
    let stats = Collector::new(node.clone(), config.stats.included_pod_metrics.clone());
    let sessions = Sessions::new(daemon::session_settings(&config));
    let cri = Cri::new(node, stats, sessions);

    // Pods are found again before anyone can ask for them.
    let (_socket, listener) = Socket::take_over(&config.socket(), handed)?;
    let activity = Activity::default();
    let reloads = tokio::spawn(reload_on(hangup, file, config.clone(), log, cri.clone()));
    let trims = tokio::spawn(trim_after(activity.clone()));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        socket = %config.socket().display(),
        "serving CRI"
    );
    notify(&[NotifyState::Ready]);
    let watched =
        watchdog::period().map(|every| tokio::spawn(watchdog::feed(config.socket(), every)));

    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("ending; pods go on");
        notify(&[NotifyState::Stopping]);
        cri.close();
    };
    let ended =
        serve(listener, cri.clone(), cri.clone(), &config, (activity, counters), stop).await;
    reloads.abort();
    trims.abort();
    if let Some(watched) = watched {
        watched.abort();
    }
    Ok(ended?)
}

/// A port that is taken costs the metrics, not the pods.
async fn serve_metrics(config: &Config, counters: &Metrics, node: &Node) {
    let wanted = &config.metrics;
    if !wanted.enable_metrics {
        return;
    }
    let port = wanted.metrics_port;
    let address = (port != 0).then(|| std::net::SocketAddr::new(wanted.metrics_host, port));
    let socket = wanted.metrics_socket.clone();
    if let Err(error) = metrics::serve(counters.clone(), node.clone(), address, socket).await {
        tracing::error!("metrics are not served: {}", crate::cri::status::chain(&error));
    }
}

/// Tells systemd, if it listens.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::warn!(%error, "cannot tell systemd about the daemon's state");
    }
}

/// Reads the configuration again on each SIGHUP. What is wrong is logged, and nothing changes.
async fn reload_on(
    mut hangup: tokio::signal::unix::Signal,
    file: Option<PathBuf>,
    mut current: Config,
    log: Log,
    cri: Cri,
) {
    while hangup.recv().await.is_some() {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let usec = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        notify(&[NotifyState::Reloading, NotifyState::MonotonicUsec(usec)]);
        let path = file.clone();
        // A file may lie on a filesystem that hangs.
        let loaded = tokio::task::spawn_blocking(move || config::load(path.as_deref())).await;
        match loaded {
            Ok(Ok(fresh)) => apply(fresh, &mut current, &log, &cri),
            Ok(Err(error)) => {
                let error = crate::cri::status::chain(&error);
                tracing::error!("the configuration stays as it was: {error}");
            }
            Err(error) => tracing::error!(%error, "the configuration stays as it was"),
        }
        notify(&[NotifyState::Ready]);
    }
}

fn apply(fresh: Config, current: &mut Config, log: &Log, cri: &Cri) {
    if let Err(error) = log.change(&fresh.runtime) {
        let error = crate::cri::status::chain(&error);
        tracing::error!("the configuration stays as it was: {error}");
        return;
    }
    cri.follow(&fresh);
    let later = needs_restart(current, &fresh);
    if !later.is_empty() {
        tracing::warn!("changed, but only after a restart: {}", later.join(", "));
    }
    *current = fresh;
    tracing::info!("configuration read again");
}

/// Where `fresh` differs in what a running daemon does not follow.
fn needs_restart(old: &Config, fresh: &Config) -> Vec<&'static str> {
    let mut followed = fresh.clone();
    followed.runtime.log_level = old.runtime.log_level;
    followed.runtime.log_filter.clone_from(&old.runtime.log_filter);
    followed.image.pinned_images.clone_from(&old.image.pinned_images);
    [
        ("root", old.root != followed.root),
        ("runroot", old.runroot != followed.runroot),
        ("[api]", old.api != followed.api),
        ("[runtime]", old.runtime != followed.runtime),
        ("[image]", old.image != followed.image),
        ("[network]", old.network != followed.network),
        ("[nri]", old.nri != followed.nri),
        ("[stats]", old.stats != followed.stats),
        ("[metrics]", old.metrics != followed.metrics),
        ("[deadlines]", old.deadlines != followed.deadlines),
    ]
    .into_iter()
    .filter_map(|(section, differs)| differs.then_some(section))
    .collect()
}

/// Gives memory back some time after calls were answered. Without calls it never wakes up.
async fn trim_after(activity: Activity) {
    loop {
        activity.next().await;
        tokio::time::sleep(TRIM_PERIOD).await;
        // It holds the heap's locks for a while: not on a thread that answers calls.
        let _ = tokio::task::spawn_blocking(heap::trim).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogLevel;

    #[test]
    fn what_a_running_daemon_follows_needs_no_restart() {
        let old = Config::default();
        let mut fresh = Config::default();
        fresh.runtime.log_level = LogLevel::Trace;
        fresh.image.pinned_images = vec!["a".into()];
        assert!(needs_restart(&old, &fresh).is_empty());
        fresh.runtime.shim_cgroup = "/elsewhere".into();
        fresh.root = "/elsewhere".into();
        assert_eq!(needs_restart(&old, &fresh), ["root", "[runtime]"]);
    }
}
