// SPDX-License-Identifier: Apache-2.0
//! Usage of containers and pods on the wire.

use crisp_cri as v1;
use tonic::Status;

use super::{
    Cri,
    status::refuse,
    translate::{StatsFilter, container_metadata_to_cri, pod_metadata_to_cri, select, to_map},
};
use crate::{
    cgroups::{MemoryUsage, Psi, PsiShare, Usage},
    pods::spec::Sharing,
    server::seen,
    stats::{ContainerReading, FilesystemUsage, InterfaceCounters, PodReading},
};

impl Cri {
    pub(super) async fn stats_of_container(
        &self,
        request: &v1::ContainerStatsRequest,
    ) -> Result<v1::ContainerStatsResponse, Status> {
        seen(&request.container_id);
        let (container, _) = self.node.container(&request.container_id).map_err(refuse)?;
        let reading = self.stats.container(container).await.map_err(refuse)?;
        Ok(v1::ContainerStatsResponse { stats: reading.as_ref().map(container_stats) })
    }

    pub(super) async fn stats_of_containers(
        &self,
        filter: Option<v1::ContainerStatsFilter>,
    ) -> Result<Vec<v1::ContainerStats>, Status> {
        let filter = StatsFilter::of_containers(filter);
        let pods = select(self.node.pods(), &filter.pod, |view| view.pod.id.as_str());
        let all = pods.iter().flat_map(|view| &view.containers).filter(|c| c.is_visible());
        let mut containers = select(all.cloned().collect(), &filter.id, |c| c.id.as_str());
        containers.retain(|c| filter.accepts(&c.config.labels));
        let readings = self.stats.containers(containers).await.map_err(refuse)?;
        Ok(readings.iter().map(container_stats).collect())
    }

    pub(super) async fn stats_of_pod(
        &self,
        request: &v1::PodSandboxStatsRequest,
    ) -> Result<v1::PodSandboxStatsResponse, Status> {
        seen(&request.pod_sandbox_id);
        let view = self.node.pod(&request.pod_sandbox_id).map_err(refuse)?;
        let reading = self.stats.pod(view).await.map_err(refuse)?;
        Ok(v1::PodSandboxStatsResponse { stats: reading.as_ref().map(pod_stats) })
    }

    pub(super) async fn stats_of_pods(
        &self,
        filter: Option<v1::PodSandboxStatsFilter>,
    ) -> Result<Vec<v1::PodSandboxStats>, Status> {
        let filter = StatsFilter::of_pods(filter);
        let mut pods = self.node.pods();
        pods.retain(|view| view.pod.is_visible());
        let mut pods = select(pods, &filter.id, |view| view.pod.id.as_str());
        pods.retain(|view| filter.accepts(&view.pod.config.labels));
        let readings = self.stats.pods(pods).await.map_err(refuse)?;
        Ok(readings.iter().map(pod_stats).collect())
    }
}

fn container_stats(reading: &ContainerReading) -> v1::ContainerStats {
    let (config, stats) = (&reading.container.config, &reading.stats);
    v1::ContainerStats {
        attributes: Some(v1::ContainerAttributes {
            id: reading.container.id.to_string(),
            metadata: Some(container_metadata_to_cri(&config.metadata)),
            labels: to_map(&config.labels),
            annotations: to_map(&config.annotations),
        }),
        cpu: cpu(stats.at_ns, &stats.usage, stats.nano_cores),
        memory: memory(stats.at_ns, &stats.usage),
        writable_layer: stats.writable.as_ref().map(filesystem),
        swap: stats.usage.memory.and_then(|memory| swap(stats.at_ns, &memory)),
        io: io(stats.at_ns, &stats.usage),
    }
}

fn pod_stats(reading: &PodReading) -> v1::PodSandboxStats {
    let (pod, stats) = (&reading.view.pod, &reading.stats);
    let network = match pod.config.namespaces.network {
        Sharing::Pod => network(stats.at_ns, &stats.interfaces),
        // The node's interfaces are not the pod's.
        Sharing::Node => None,
    };
    v1::PodSandboxStats {
        attributes: Some(v1::PodSandboxAttributes {
            id: pod.id.to_string(),
            metadata: Some(pod_metadata_to_cri(&pod.config.metadata)),
            labels: to_map(&pod.config.labels),
            annotations: to_map(&pod.config.annotations),
        }),
        linux: Some(v1::LinuxPodSandboxStats {
            cpu: cpu(stats.at_ns, &stats.usage, stats.nano_cores),
            memory: memory(stats.at_ns, &stats.usage),
            network,
            process: stats.usage.tasks.map(|tasks| v1::ProcessUsage {
                timestamp: stats.at_ns,
                process_count: some(tasks.current),
            }),
            containers: reading.containers.iter().map(container_stats).collect(),
            io: io(stats.at_ns, &stats.usage),
        }),
        windows: None,
    }
}

fn cpu(timestamp: i64, usage: &Usage, nano_cores: Option<u64>) -> Option<v1::CpuUsage> {
    let cpu = usage.cpu?;
    Some(v1::CpuUsage {
        timestamp,
        usage_core_nano_seconds: some(cpu.total_ns),
        usage_nano_cores: nano_cores.and_then(some),
        psi: usage.pressure.cpu.map(psi),
    })
}

fn memory(timestamp: i64, usage: &Usage) -> Option<v1::MemoryUsage> {
    let memory = usage.memory?;
    Some(v1::MemoryUsage {
        timestamp,
        working_set_bytes: some(memory.working_set),
        available_bytes: memory.available().and_then(some),
        usage_bytes: some(memory.usage),
        rss_bytes: some(memory.rss),
        page_faults: some(memory.page_faults),
        major_page_faults: some(memory.major_page_faults),
        psi: usage.pressure.memory.map(psi),
    })
}

fn swap(timestamp: i64, memory: &MemoryUsage) -> Option<v1::SwapUsage> {
    Some(v1::SwapUsage {
        timestamp,
        swap_available_bytes: memory.swap_available().and_then(some),
        swap_usage_bytes: some(memory.swap?),
    })
}

fn io(timestamp: i64, usage: &Usage) -> Option<v1::IoUsage> {
    Some(v1::IoUsage { timestamp, psi: Some(psi(usage.pressure.io?)) })
}

fn psi(psi: Psi) -> v1::PsiStats {
    let data = |share: PsiShare| v1::PsiData {
        total: share.total_ns,
        avg10: share.avg10,
        avg60: share.avg60,
        avg300: share.avg300,
    };
    v1::PsiStats { full: Some(data(psi.full)), some: Some(data(psi.some)) }
}

fn filesystem(usage: &FilesystemUsage) -> v1::FilesystemUsage {
    v1::FilesystemUsage {
        timestamp: usage.at_ns,
        fs_id: Some(v1::FilesystemIdentifier {
            mountpoint: usage.mountpoint.display().to_string(),
        }),
        used_bytes: some(usage.used_bytes),
        inodes_used: some(usage.inodes_used),
    }
}

/// The default interface comes first; the list holds the others.
fn network(timestamp: i64, interfaces: &[InterfaceCounters]) -> Option<v1::NetworkUsage> {
    let (default, others) = interfaces.split_first()?;
    Some(v1::NetworkUsage {
        timestamp,
        default_interface: Some(interface(default)),
        interfaces: others.iter().map(interface).collect(),
    })
}

fn interface(counters: &InterfaceCounters) -> v1::NetworkInterfaceUsage {
    v1::NetworkInterfaceUsage {
        name: counters.name.clone(),
        rx_bytes: some(counters.received.bytes),
        rx_errors: some(counters.received.errors),
        tx_bytes: some(counters.sent.bytes),
        tx_errors: some(counters.sent.errors),
    }
}

fn some(value: u64) -> Option<v1::UInt64Value> {
    Some(v1::UInt64Value { value })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        cgroups::{CpuUsage, Pressure, TaskUsage},
        containers::record::{Phase, Run},
        cri::{show_container, show_pod},
        pods::{message::PodView, record::PodPhase},
        stats::{ContainerStats, PodStats, Traffic},
    };

    fn usage() -> Usage {
        Usage {
            cpu: Some(CpuUsage { total_ns: 9, ..CpuUsage::default() }),
            memory: Some(MemoryUsage { usage: 8, working_set: 6, ..MemoryUsage::default() }),
            tasks: Some(TaskUsage { current: 3, limit: None }),
            ..Usage::default()
        }
    }

    fn container(usage: Usage, nano_cores: Option<u64>) -> v1::ContainerStats {
        let run = Run { started_at_ns: 6, pid: 1 };
        container_stats(&ContainerReading {
            container: Arc::new(show_container::tests::container(Phase::Running(run))),
            stats: ContainerStats { at_ns: 77, usage, nano_cores, writable: None },
        })
    }

    fn pod(network: Sharing, names: &[&str]) -> v1::LinuxPodSandboxStats {
        let mut record = show_pod::tests::pod(PodPhase::Ready);
        record.config.namespaces.network = network;
        let counters = |name: &&str| InterfaceCounters {
            name: (*name).to_owned(),
            received: Traffic { bytes: 5, errors: 1, ..Traffic::default() },
            sent: Traffic { bytes: 6, errors: 2, ..Traffic::default() },
        };
        let interfaces = names.iter().map(counters).collect();
        let reading = PodReading {
            view: Arc::new(PodView { pod: Arc::new(record), containers: Vec::new() }),
            stats: PodStats { at_ns: 77, usage: usage(), nano_cores: None, interfaces },
            containers: Vec::new(),
        };
        pod_stats(&reading).linux.unwrap()
    }

    fn value(value: Option<v1::UInt64Value>) -> Option<u64> {
        value.map(|v| v.value)
    }

    #[test]
    fn what_is_not_known_is_unset_and_not_zero() {
        let stats = container(usage(), None);
        let (cpu, memory) = (stats.cpu.unwrap(), stats.memory.unwrap());
        assert_eq!((cpu.timestamp, value(cpu.usage_core_nano_seconds)), (77, Some(9)));
        assert_eq!((cpu.usage_nano_cores, cpu.psi), (None, None));
        assert_eq!((memory.timestamp, value(memory.working_set_bytes)), (77, Some(6)));
        assert_eq!((memory.available_bytes, memory.psi), (None, None));
        assert!(stats.swap.is_none() && stats.io.is_none() && stats.writable_layer.is_none());
        let gone = container(Usage::default(), None);
        assert!(gone.attributes.is_some() && gone.cpu.is_none() && gone.memory.is_none());
    }

    #[test]
    fn limits_make_known_what_is_left() {
        let memory = MemoryUsage {
            working_set: 6,
            limit: Some(10),
            swap: Some(1),
            swap_limit: Some(4),
            ..MemoryUsage::default()
        };
        let stats = container(Usage { memory: Some(memory), ..usage() }, Some(500));
        assert_eq!(value(stats.memory.unwrap().available_bytes), Some(4));
        assert_eq!(value(stats.swap.unwrap().swap_available_bytes), Some(3));
        assert_eq!(value(stats.cpu.unwrap().usage_nano_cores), Some(500));
    }

    #[test]
    fn pressure_goes_with_what_is_waited_for() {
        let share = |total_ns| PsiShare { total_ns, avg10: 1.5, ..PsiShare::default() };
        let psi = |full, some| Some(Psi { full: share(full), some: share(some) });
        let pressure = Pressure { cpu: psi(1, 2), memory: psi(3, 4), io: psi(5, 6) };
        let stats = container(Usage { pressure, ..usage() }, None);
        let totals = |psi: Option<v1::PsiStats>| {
            let psi = psi.unwrap();
            (psi.full.unwrap().total, psi.some.unwrap().total)
        };
        assert_eq!(totals(stats.cpu.unwrap().psi), (1, 2));
        assert_eq!(totals(stats.memory.unwrap().psi), (3, 4));
        assert_eq!(totals(stats.io.unwrap().psi), (5, 6));
    }

    #[test]
    fn the_default_interface_is_not_listed_again() {
        let linux = pod(Sharing::Pod, &["eth0", "net1"]);
        assert_eq!(value(linux.process.unwrap().process_count), Some(3));
        let network = linux.network.unwrap();
        let default = network.default_interface.unwrap();
        assert_eq!(default.name, "eth0");
        assert_eq!((value(default.rx_bytes), value(default.tx_errors)), (Some(5), Some(2)));
        let others: Vec<_> = network.interfaces.iter().map(|i| i.name.as_str()).collect();
        assert_eq!(others, ["net1"]);
    }

    #[test]
    fn the_nodes_network_is_not_the_pods() {
        assert!(pod(Sharing::Node, &[]).network.is_none());
    }
}
