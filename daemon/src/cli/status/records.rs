// SPDX-License-Identifier: Apache-2.0
//! What the records of a daemon that does not answer tell.

use std::{fs, path::Path};

use crisp_words::{ContainerId, SandboxId};

use super::{
    memory,
    report::{Container, Daemon, Disk, Pod, Report, Shim},
};
use crate::{
    config::Config,
    containers::record::{ContainerRecord, Phase},
    cri::report::{ImagesReport, Pending},
    pods::{
        boot::Boot,
        record::{PodPhase, PodRecord},
    },
    store::{self, Layout, RecordError},
};

/// Reads all records. What cannot be read is among the pending things, by name.
pub(super) fn read(config: &Config, failure: String) -> Report {
    let layout = Layout::new(&config.root, &config.runroot);
    let mut pending = Vec::new();
    let mut containers: Vec<ContainerRecord> = names(&layout.containers())
        .filter_map(|name| ContainerId::new(name).ok())
        .filter_map(|id| {
            let record = store::read(&layout.container_record(&id));
            note(record, id.as_str(), &mut pending)
        })
        .collect();
    let mut pods = Vec::new();
    for id in names(&layout.pods()).filter_map(|name| SandboxId::new(name).ok()) {
        let record = store::read(&layout.pod_record(&id));
        let Some(record) = note::<PodRecord>(record, id.as_str(), &mut pending) else { continue };
        if let PodPhase::NotReady { pending: left } = &record.phase {
            let object = id.to_string();
            let left =
                left.iter().map(|what| Pending { object: object.clone(), what: what.clone() });
            pending.extend(left);
        }
        let (mine, rest) = containers.drain(..).partition(|c| c.pod == id);
        containers = rest;
        pods.push(pod(&record, mine));
    }
    pods.sort_by(|a, b| a.id.cmp(&b.id));
    for lone in containers {
        pending.push(Pending { object: lone.id.to_string(), what: "its pod has no record".into() });
    }
    let boot = Boot::last(&config.runroot);
    let lives = boot.is_some_and(|boot| memory::runs(boot.pid, Path::new("crisp")));
    Report {
        socket: config.socket(),
        failure: Some(failure),
        daemon: Daemon {
            version: None,
            memory: boot.filter(|_| lives).and_then(|boot| memory::pss(boot.pid)),
            boot,
            lives,
        },
        conditions: Vec::new(),
        default_handler: None,
        handlers: Vec::new(),
        network: None,
        pods,
        images: images(&config.root),
        disks: Disk::of(config.root.join("layers")).into_iter().collect(),
        pending,
        stages: Vec::new(),
    }
}

fn note<R>(record: Result<R, RecordError>, object: &str, pending: &mut Vec<Pending>) -> Option<R> {
    match record {
        Ok(record) => Some(record),
        Err(RecordError::Missing { .. }) => None,
        Err(error) => {
            pending.push(Pending { object: object.to_owned(), what: error.to_string() });
            None
        }
    }
}

fn pod(record: &PodRecord, containers: Vec<ContainerRecord>) -> Pod {
    let shim = record.shim.as_ref().map_or_else(Shim::default, |shim| {
        let lives = memory::runs(shim.pid, &shim.binary);
        Shim {
            pid: Some(shim.pid),
            lives,
            version: None,
            fault: (!lives).then(|| "its process is gone".to_owned()),
            memory: memory::pss(shim.pid).filter(|_| lives),
            replaced: lives && memory::is_replaced(shim.pid),
        }
    });
    Pod {
        id: record.id.to_string(),
        namespace: record.config.metadata.namespace.clone(),
        name: record.config.metadata.name.clone(),
        state: match &record.phase {
            PodPhase::Creating => "being created",
            PodPhase::Ready => "ready",
            PodPhase::Stopping => "being stopped",
            PodPhase::NotReady { .. } => "not ready",
        },
        handler: record.handler.clone(),
        shim,
        containers: containers.iter().map(container).collect(),
    }
}

fn container(record: &ContainerRecord) -> Container {
    Container {
        id: record.id.to_string(),
        name: record.config.metadata.name.clone(),
        state: match &record.phase {
            Phase::Creating => "being created",
            Phase::Created => "created",
            Phase::Running(_) => "running",
            Phase::Exited(_) => "exited",
        },
    }
}

fn images(root: &Path) -> Option<ImagesReport> {
    let dir = root.join("images");
    let count = names(&dir).filter(|n| n.ends_with(".json") && !n.starts_with('.')).count();
    dir.is_dir().then(|| ImagesReport { count, bytes: None, path: root.join("layers") })
}

fn names(dir: &Path) -> impl Iterator<Item = String> + use<> {
    let listed = fs::read_dir(dir).into_iter().flatten().flatten();
    listed.filter_map(|entry| entry.file_name().into_string().ok())
}
