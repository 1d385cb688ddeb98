// SPDX-License-Identifier: Apache-2.0
//! Metrics of all pods, read at the moment somebody asks.

use std::{collections::HashMap, sync::Arc};

use crisp_words::{ContainerId, SandboxId};

use super::{
    FilesystemCapacity, FilesystemUsage, InterfaceCounters, ProcessCounts, StatsError,
    collect::{Collector, Timed, blocking, interfaces_of, pod_cgroups, read, running},
    metrics::{
        ContainerFacts, Descriptor, PodFacts, Sample, Subject, container_metrics, descriptors,
        pod_metrics, serves,
    },
};
use crate::{
    cgroups::{Detail, Usage},
    config::PodMetricGroup,
    containers::record::{ContainerRecord, Made, Run},
    pods::message::PodView,
};

/// Samples of a pod and of its running containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSamples {
    /// The pod.
    pub id: SandboxId,
    /// Those of the pod as a whole.
    pub samples: Vec<Sample>,
    /// Those of each container.
    pub containers: Vec<(ContainerId, Vec<Sample>)>,
}

impl Collector {
    /// The metrics that are served; the same for as long as the daemon runs.
    #[must_use]
    pub fn descriptors(&self) -> Vec<&'static Descriptor> {
        descriptors(&self.groups)
    }

    /// Samples of every pod that is ready. What ends meanwhile is left out.
    ///
    /// # Errors
    /// [`StatsError`].
    pub async fn samples(&self) -> Result<Vec<PodSamples>, StatsError> {
        let mut pods = self.node.pods();
        pods.retain(|view| view.pod.is_ready());
        let layers = if self.serves(PodMetricGroup::Disk) {
            let all: Vec<_> = pods.iter().flat_map(|view| running(view)).cloned().collect();
            self.layers(&all).await
        } else {
            HashMap::new()
        };
        let collector = self.clone();
        blocking(move || collector.samples_of(&pods, &layers)).await?
    }

    fn serves(&self, group: PodMetricGroup) -> bool {
        serves(&self.groups, group)
    }

    fn samples_of(
        &self,
        pods: &[Arc<PodView>],
        layers: &HashMap<ContainerId, FilesystemUsage>,
    ) -> Result<Vec<PodSamples>, StatsError> {
        let context = &self.node.context;
        let paths = pod_cgroups(context, pods);
        let usages = read(&context.cgroups, &paths, Detail::Metrics);
        let interfaces = if self.serves(PodMetricGroup::Network) {
            interfaces_of(context, pods)?
        } else {
            vec![Vec::new(); pods.len()]
        };
        // Of the layers' file system, which all containers share.
        let filesystem = FilesystemCapacity::of(context.layout.root()).unwrap_or_default();
        let all = pods.iter().zip(paths).zip(usages).zip(interfaces);
        Ok(all
            // A pod whose cgroup is gone has ended meanwhile.
            .filter_map(|(((view, path), (_, usage)), interfaces)| {
                let usage = usage?;
                let samples = self.of_pod(view, path, &usage, &interfaces);
                let containers = self.of_containers(view, layers, &filesystem);
                Some(PodSamples { id: view.pod.id.clone(), samples, containers })
            })
            .collect())
    }

    fn of_pod(
        &self,
        view: &PodView,
        cgroup: String,
        usage: &Usage,
        interfaces: &[InterfaceCounters],
    ) -> Vec<Sample> {
        let subject = Subject { name: view.pod.id.to_string(), id: cgroup, ..subject(view) };
        pod_metrics(&self.groups, &PodFacts { subject: &subject, usage: Some(usage), interfaces })
    }

    fn of_containers(
        &self,
        view: &PodView,
        layers: &HashMap<ContainerId, FilesystemUsage>,
        filesystem: &FilesystemCapacity,
    ) -> Vec<(ContainerId, Vec<Sample>)> {
        let containers: Vec<_> = running(view).cloned().collect();
        let usages = self.cgroups_of(&containers, Detail::Metrics);
        let sampled = |(container, timed): (&Arc<ContainerRecord>, Timed)| {
            let (at_ns, Some(usage)) = timed else { return None };
            let (made, run) = (container.made.as_ref()?, container.running()?);
            let facts = ContainerFacts {
                subject: &container_subject(view, container, made),
                usage: &usage,
                processes: self.processes(made, run),
                writable: layers.get(&container.id),
                filesystem,
                resources: &container.resources,
                started_at_ns: run.started_at_ns,
                at_ns,
            };
            Some((container.id.clone(), container_metrics(&self.groups, &facts)))
        };
        containers.iter().zip(usages).filter_map(sampled).collect()
    }

    /// What the container's processes hold, its first one first.
    fn processes(&self, made: &Made, run: &Run) -> ProcessCounts {
        if !self.serves(PodMetricGroup::Process) {
            return ProcessCounts::default();
        }
        let mut pids = self.node.context.cgroups.processes(&made.cgroup).unwrap_or_default();
        pids.sort_by_key(|pid| pid.cast_unsigned() != run.pid);
        ProcessCounts::of(&pids)
    }
}

fn subject(view: &PodView) -> Subject {
    let metadata = &view.pod.config.metadata;
    Subject {
        namespace: metadata.namespace.clone(),
        pod: metadata.name.clone(),
        ..Subject::default()
    }
}

fn container_subject(view: &PodView, container: &ContainerRecord, made: &Made) -> Subject {
    let image = &container.config.image;
    let named = [&image.user_specified_image, &image.image].into_iter().find(|s| !s.is_empty());
    Subject {
        container: container.config.metadata.name.clone(),
        id: made.cgroup.clone(),
        image: named.cloned().unwrap_or_default(),
        name: container.id.to_string(),
        ..subject(view)
    }
}
