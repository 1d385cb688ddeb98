// SPDX-License-Identifier: Apache-2.0
//! Reads what pods and containers use at the moment somebody asks.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::UNIX_EPOCH,
};

use crisp_words::ContainerId;
use futures::{StreamExt, future::join_all, stream};

use super::{
    ContainerStats, FilesystemUsage, InterfaceCounters, PodStats, Rates, StatsError,
    read_interfaces,
};
use crate::{
    cgroups::{Cgroups, Detail, Usage},
    config::PodMetricGroup,
    containers::record::ContainerRecord,
    pods::{clock, context::Context, message::PodView, node::Node, spec::Sharing},
    shims::TaskRef,
};

/// Writable layers measured at once, where there is no figure yet.
const WALKS: usize = 4;

/// Reads usage. Nothing is kept between readings but the counters that rates are made of. Clones
/// share it.
#[derive(Clone)]
pub struct Collector {
    pub(super) node: Node,
    pub(super) groups: Arc<[PodMetricGroup]>,
    rates: Arc<Mutex<Rates>>,
}

/// A container and what it uses.
#[derive(Debug, Clone)]
pub struct ContainerReading {
    /// The container.
    pub container: Arc<ContainerRecord>,
    /// What it uses. Without CPU and memory when it has no cgroup (any more).
    pub stats: ContainerStats,
}

/// A pod and what it uses.
#[derive(Debug, Clone)]
pub struct PodReading {
    /// The pod.
    pub view: Arc<PodView>,
    /// What it uses as a whole. Without CPU and memory when it has no cgroup (any more).
    pub stats: PodStats,
    /// Its running containers.
    pub containers: Vec<ContainerReading>,
}

/// What a cgroup has used, and when it was read, nanoseconds since the Unix epoch.
pub(super) type Timed = (i64, Option<Usage>);

impl Collector {
    /// Reads from `node`, and serves metrics of `groups`.
    #[must_use]
    pub fn new(node: Node, groups: Vec<PodMetricGroup>) -> Self {
        Self { node, groups: groups.into(), rates: Arc::default() }
    }

    /// What a container uses, whatever its state.
    ///
    /// # Errors
    /// [`StatsError`].
    pub async fn container(
        &self,
        container: Arc<ContainerRecord>,
    ) -> Result<Option<ContainerReading>, StatsError> {
        Ok(self.read_containers(vec![container]).await?.pop())
    }

    /// What those of `containers` use that run. One that ends meanwhile is left out.
    ///
    /// # Errors
    /// [`StatsError`].
    pub async fn containers(
        &self,
        mut containers: Vec<Arc<ContainerRecord>>,
    ) -> Result<Vec<ContainerReading>, StatsError> {
        self.forget_the_gone();
        containers.retain(|container| container.running().is_some());
        let mut all = self.read_containers(containers).await?;
        all.retain(|reading| is_measured(&reading.stats.usage));
        Ok(all)
    }

    /// What a pod uses, whatever its state.
    ///
    /// # Errors
    /// [`StatsError`].
    pub async fn pod(&self, view: Arc<PodView>) -> Result<Option<PodReading>, StatsError> {
        Ok(self.read_pods(vec![view]).await?.pop())
    }

    /// What those of `pods` use that are ready. One that ends meanwhile is left out.
    ///
    /// # Errors
    /// [`StatsError`].
    pub async fn pods(&self, mut pods: Vec<Arc<PodView>>) -> Result<Vec<PodReading>, StatsError> {
        self.forget_the_gone();
        pods.retain(|view| view.pod.is_ready());
        let mut all = self.read_pods(pods).await?;
        all.retain(|reading| is_measured(&reading.stats.usage));
        Ok(all)
    }

    async fn read_containers(
        &self,
        containers: Vec<Arc<ContainerRecord>>,
    ) -> Result<Vec<ContainerReading>, StatsError> {
        let mut layers = self.layers(&containers).await;
        let mut told = self.told_by_shims(&containers).await;
        let collector = self.clone();
        blocking(move || {
            let mut usages = collector.cgroups_of(&containers, Detail::Container);
            for (container, timed) in containers.iter().zip(&mut usages) {
                if let Some(by_shim) = told.remove(&container.id) {
                    *timed = by_shim;
                }
            }
            let both = containers.into_iter().zip(usages);
            both.map(|(container, (at_ns, usage))| {
                let writable = layers.remove(&container.id);
                let nano_cores = collector.rate(container.id.as_str(), at_ns, usage.as_ref());
                let usage = usage.unwrap_or_default();
                let stats = ContainerStats { at_ns, usage, nano_cores, writable };
                ContainerReading { container, stats }
            })
            .collect()
        })
        .await
    }

    async fn read_pods(&self, pods: Vec<Arc<PodView>>) -> Result<Vec<PodReading>, StatsError> {
        let running = pods.iter().flat_map(|view| running(view)).cloned().collect();
        let mut containers: HashMap<_, Vec<ContainerReading>> = HashMap::new();
        for reading in self.read_containers(running).await? {
            if is_measured(&reading.stats.usage) {
                containers.entry(reading.container.pod.clone()).or_default().push(reading);
            }
        }
        let collector = self.clone();
        blocking(move || {
            let context = &collector.node.context;
            let usages = read(&context.cgroups, &pod_cgroups(context, &pods), Detail::Pod);
            let interfaces = interfaces_of(context, &pods)?;
            let all = pods.into_iter().zip(usages).zip(interfaces);
            Ok(all
                .map(|((view, (at_ns, usage)), interfaces)| {
                    let nano_cores = collector.rate(view.pod.id.as_str(), at_ns, usage.as_ref());
                    let usage = usage.unwrap_or_default();
                    let stats = PodStats { at_ns, usage, nano_cores, interfaces };
                    let containers = containers.remove(&view.pod.id).unwrap_or_default();
                    PodReading { view, stats, containers }
                })
                .collect())
        })
        .await?
    }

    /// What the containers' cgroups have used. Blocks.
    pub(super) fn cgroups_of(
        &self,
        containers: &[Arc<ContainerRecord>],
        detail: Detail,
    ) -> Vec<Timed> {
        let path = |c: &Arc<ContainerRecord>| c.made.as_ref().map(|made| made.cgroup.clone());
        // One that was not made has no cgroup, and the name of none.
        let paths: Vec<Option<String>> = containers.iter().map(path).collect();
        let known: Vec<String> = paths.iter().flatten().cloned().collect();
        let mut usages = read(&self.node.context.cgroups, &known, detail).into_iter();
        let next = |path: Option<String>| path.and_then(|_| usages.next());
        paths.into_iter().map(next).map(|timed| timed.unwrap_or((clock::now_ns(), None))).collect()
    }

    /// What shims say of containers behind kernels of their own, which have no cgroup of this
    /// host's. Of one whose shim does not answer nothing is known.
    pub(super) async fn told_by_shims(
        &self,
        containers: &[Arc<ContainerRecord>],
    ) -> HashMap<ContainerId, Timed> {
        let context = &self.node.context;
        let ask = |container: &Arc<ContainerRecord>| {
            let (id, door) = (container.id.clone(), context.index.pod(container.pod.as_str()).ok());
            async move {
                let door = door?;
                let handler = door.view.borrow().pod.handler.clone();
                context
                    .handlers
                    .choose(&handler)
                    .ok()?
                    .variant()
                    .filter(|v| !v.is_transparent())?;
                let asked = async {
                    let client = door.shim.as_ref()?.of(&id).ok()?;
                    client.stats(TaskRef::container(&id), context.limits.shim_call).await.ok()
                };
                let usage = asked.await.map(|stats| stats.usage());
                Some((id.clone(), (clock::now_ns(), usage)))
            }
        };
        let all = join_all(containers.iter().map(ask)).await;
        all.into_iter().flatten().collect()
    }

    /// What the containers have written, as far as it can be told.
    pub(super) async fn layers(
        &self,
        containers: &[Arc<ContainerRecord>],
    ) -> HashMap<ContainerId, FilesystemUsage> {
        let context = &self.node.context;
        let mountpoint = context.images.fs_info().mountpoint;
        let measure = |container: Arc<ContainerRecord>| {
            let (rootfs, mountpoint) = (context.rootfs.clone(), mountpoint.clone());
            async move {
                let usage = rootfs.usage(&container.id).await;
                // It may be gone by now.
                let error = |error| tracing::debug!(container = %container.id, %error, "no usage");
                let usage = usage.map_err(error).ok()?;
                let at_ns = usage.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
                let usage = FilesystemUsage {
                    at_ns: i64::try_from(at_ns).unwrap_or(i64::MAX),
                    mountpoint,
                    used_bytes: usage.bytes,
                    inodes_used: usage.inodes,
                };
                Some((container.id.clone(), usage))
            }
        };
        let all = stream::iter(containers.to_vec()).map(measure).buffer_unordered(WALKS);
        all.filter_map(|one| async { one }).collect().await
    }

    fn rate(&self, id: &str, at_ns: i64, usage: Option<&Usage>) -> Option<u64> {
        let total_ns = usage?.cpu?.total_ns;
        self.rates.lock().unwrap_or_else(PoisonError::into_inner).next(id, at_ns, total_ns)
    }

    fn forget_the_gone(&self) {
        // Locked first: nothing that comes later can be forgotten.
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let views = self.node.pods();
        let containers = views.iter().flat_map(|view| &view.containers).map(|c| c.id.as_str());
        let ids: HashSet<&str> =
            views.iter().map(|view| view.pod.id.as_str()).chain(containers).collect();
        rates.retain(|id| ids.contains(id));
    }
}

/// Running containers of a pod.
pub(super) fn running(view: &PodView) -> impl Iterator<Item = &Arc<ContainerRecord>> {
    view.containers.iter().filter(|container| container.running().is_some())
}

/// Paths of the pods' cgroups.
pub(super) fn pod_cgroups(context: &Context, pods: &[Arc<PodView>]) -> Vec<String> {
    pods.iter().map(|view| context.cgroups.parent_path(&view.pod.cgroup.path)).collect()
}

/// Reads cgroups, each with its own time: the last of many is read some time after the first.
/// Blocks.
pub(super) fn read(cgroups: &Cgroups, paths: &[String], detail: Detail) -> Vec<Timed> {
    let mut times = Vec::with_capacity(paths.len());
    let usages = cgroups.usage(
        // A path is asked for just before it is read.
        paths.iter().map(|path| {
            times.push(clock::now_ns());
            path.as_str()
        }),
        detail,
    );
    times.into_iter().zip(usages).collect()
}

/// Interfaces of each pod; none for one with host networking, or one that is gone. Blocks.
pub(super) fn interfaces_of(
    context: &Context,
    pods: &[Arc<PodView>],
) -> Result<Vec<Vec<InterfaceCounters>>, StatsError> {
    let own = |view: &PodView| view.pod.config.namespaces.network == Sharing::Pod;
    let pin = |view: &Arc<PodView>| context.layout.namespaces(&view.pod.id).join("net");
    let pins: Vec<PathBuf> = pods.iter().filter(|view| own(view)).map(pin).collect();
    let mut counters = read_interfaces(pins).map_err(StatsError::Network)?.into_iter();
    let next = |view: &Arc<PodView>| {
        if own(view) { counters.next().and_then(Result::ok).unwrap_or_default() } else { vec![] }
    };
    Ok(pods.iter().map(next).collect())
}

fn is_measured(usage: &Usage) -> bool {
    usage.cpu.is_some() || usage.memory.is_some()
}

/// Runs what reads many small files, away from the threads that answer calls.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StatsError> {
    tokio::task::spawn_blocking(work).await.map_err(StatsError::Aborted)
}
