// SPDX-License-Identifier: Apache-2.0
//! What a scrape reads off the node: nobody counts it in between.

use prometheus_client::{
    metrics::{counter::ConstCounter, family::Family, gauge::ConstGauge, gauge::Gauge},
    registry::Registry,
};

use super::{
    PREFIX,
    labels::{Build, InState, Named, Phase},
};
use crate::{
    containers::record::Phase as Life,
    pods::{node::Node, progress::Stage, record::PodPhase},
};

/// The node's state now.
pub(super) fn registry(node: &Node) -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    let context = &node.context;
    let build: Family<Build, Gauge> = Family::default();
    build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
    registry.register("build_info", "The daemon's version", build);
    let default: Family<Named, Gauge> = Family::default();
    let name = context.handlers.default_handler().name.clone();
    default.get_or_create(&Named { name }).set(1);
    registry.register("default_runtime", "The default runtime handler", default);
    pods(node, &mut registry);
    images(node, &mut registry);
    let stalled: Family<Phase, Gauge> = Family::default();
    for stage in Stage::ALL {
        stalled.get_or_create(&Phase { stage: stage.word() }).set(0);
    }
    for work in context.progress.open().iter().filter(|work| work.is_over()) {
        stalled.get_or_create(&Phase { stage: work.stage.word() }).inc();
    }
    registry.register(
        "resources_stalled_at_stage",
        "Work that has been in a stage for longer than the stage's limit",
        stalled,
    );
    registry.register(
        "daemon_starts",
        "Starts of the daemon since the machine booted; the first is one",
        ConstCounter::new(u64::from(context.boot.starts)),
    );
    #[expect(clippy::cast_precision_loss, reason = "a point in time, to the microsecond")]
    let started = context.boot.started_at_ns as f64 / 1e9;
    registry.register(
        "daemon_start_time_seconds",
        "When the daemon was started, since the Unix epoch",
        ConstGauge::new(started),
    );
    registry
}

fn pods(node: &Node, registry: &mut Registry) {
    let pods: Family<InState, Gauge> = Family::default();
    let containers: Family<InState, Gauge> = Family::default();
    for state in ["ready", "not_ready"] {
        pods.get_or_create(&InState { state }).set(0);
    }
    for state in ["created", "running", "exited"] {
        containers.get_or_create(&InState { state }).set(0);
    }
    let mut pending = 0_u64;
    for view in node.pods().iter().filter(|view| view.pod.is_visible()) {
        let state = if view.pod.is_ready() { "ready" } else { "not_ready" };
        pods.get_or_create(&InState { state }).inc();
        if let PodPhase::NotReady { pending: left } = &view.pod.phase {
            pending += left.len() as u64;
        }
        for container in &view.containers {
            let state = match container.phase {
                Life::Creating => continue,
                Life::Created => "created",
                Life::Running(_) => "running",
                Life::Exited(_) => "exited",
            };
            containers.get_or_create(&InState { state }).inc();
        }
    }
    registry.register("pods", "Pod sandboxes, by state", pods);
    registry.register("containers", "Containers, by state", containers);
    registry.register(
        "pending_cleanups",
        "Things of the host that pods hold and that could not be put back yet",
        ConstGauge::new(pending),
    );
}

fn images(node: &Node, registry: &mut Registry) {
    let images = &node.context.images;
    let info = images.fs_info();
    let count = images.list(None).map_or(0, |list| list.len() as u64);
    registry.register("images", "Images on the node", ConstGauge::new(count));
    registry.register(
        "image_store_bytes",
        "Bytes that unpacked layers take on disk",
        ConstGauge::new(info.used_bytes),
    );
    registry.register(
        "image_store_inodes",
        "Inodes that unpacked layers take on disk",
        ConstGauge::new(info.inodes_used),
    );
    registry.register(
        "image_pulls_bytes",
        "Bytes of layers received from registries",
        ConstCounter::new(images.received_bytes()),
    );
}
