// SPDX-License-Identifier: Apache-2.0
//! What the daemon counts, for Prometheus. Names are CRI-O's, with crisp's prefix, where the
//! meaning is the same; durations are histograms, in seconds.
//!
//! Counters live here and are bumped where things happen. What can be looked up is not counted:
//! [`node`] reads it when a scrape asks.

mod labels;
mod node;
mod serve;

use std::{fmt, sync::Arc, time::Duration};

use labels::{Failure, Operation, Phase};
use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};
pub use serve::{MetricsError, serve};
use tonic::Code;

use crate::pods::{node::Node, progress::Stage};

/// Before each name.
const PREFIX: &str = "crisp";

/// The counters. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    operations: Family<Operation, Counter>,
    latency: Family<Operation, Histogram>,
    errors: Family<Failure, Counter>,
    stages: Family<Phase, Histogram>,
    pulls: Counter,
    failed_pulls: Family<Failure, Counter>,
    pull_seconds: Histogram,
    shims_started: Counter,
    shims_died: Counter,
    oom: Counter,
}

/// 1 ms to 2 minutes: a list takes the one, a runtime in trouble the other.
fn seconds() -> Histogram {
    Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(0.001, 2.0, 18))
}

/// A quarter of a second to an hour.
fn pull_seconds() -> Histogram {
    Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(0.25, 2.0, 15))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let operations = Family::default();
        let latency = Family::new_with_constructor(seconds as fn() -> Histogram);
        let errors = Family::default();
        let stages = Family::new_with_constructor(seconds as fn() -> Histogram);
        let (pulls, failed_pulls, taken) = (Counter::default(), Family::default(), pull_seconds());
        let (started, died, oom) = (Counter::default(), Counter::default(), Counter::default());
        registry.register("operations", "CRI calls that ended, by method", operations.clone());
        registry.register(
            "operations_latency_seconds",
            "Time that CRI calls took, by method; streams until their end are not among them",
            latency.clone(),
        );
        registry.register(
            "operations_errors",
            "CRI calls that ended in an error, by method and gRPC code",
            errors.clone(),
        );
        registry.register(
            "stage_seconds",
            "Time that one stage of making or ending pods and containers took",
            stages.clone(),
        );
        registry.register("image_pulls_success", "Image pulls that succeeded", pulls.clone());
        registry.register(
            "image_pulls_failure",
            "Image pulls that failed, by gRPC code",
            failed_pulls.clone(),
        );
        registry.register(
            "image_pulls_seconds",
            "Time that successful image pulls took",
            taken.clone(),
        );
        registry.register("shims_started", "Shims that were started", started.clone());
        registry.register(
            "shims_died",
            "Shims that went away without having been asked to",
            died.clone(),
        );
        registry.register(
            "containers_oom",
            "Containers that ended because memory ran out (OOM)",
            oom.clone(),
        );
        Self(Arc::new(Inner {
            registry,
            operations,
            latency,
            errors,
            stages,
            pulls,
            failed_pulls,
            pull_seconds: taken,
            shims_started: started,
            shims_died: died,
            oom,
        }))
    }
}

impl Metrics {
    /// A CRI call ended after `took`, with `code` if it failed.
    pub fn operation_ended(&self, method: &str, code: Option<Code>, took: Duration) {
        // The method is the client's word: only those that are served have a line of their own.
        let method = if code == Some(Code::Unimplemented) { "unimplemented" } else { method };
        let operation = Operation { operation: method.to_owned() };
        self.0.operations.get_or_create(&operation).inc();
        self.0.latency.get_or_create(&operation).observe(took.as_secs_f64());
        if let Some(code) = code {
            let code = format!("{code:?}");
            self.0.errors.get_or_create(&Failure { operation: method.to_owned(), code }).inc();
        }
    }

    /// A stage ended, well or not.
    pub fn stage_ended(&self, stage: Stage, took: Duration) {
        self.0.stages.get_or_create(&Phase { stage: stage.word() }).observe(took.as_secs_f64());
    }

    /// A pull ended after `took`, with `code` if it failed.
    pub fn pull_ended(&self, code: Option<Code>, took: Duration) {
        match code {
            None => {
                self.0.pulls.inc();
                self.0.pull_seconds.observe(took.as_secs_f64());
            }
            Some(code) => {
                let failure =
                    Failure { operation: "PullImage".to_owned(), code: format!("{code:?}") };
                self.0.failed_pulls.get_or_create(&failure).inc();
            }
        }
    }

    /// A shim was started.
    pub fn shim_started(&self) {
        self.0.shims_started.inc();
    }

    /// A shim went away by itself.
    pub fn shim_died(&self) {
        self.0.shims_died.inc();
    }

    /// A container ended for want of memory.
    pub fn oom_killed(&self) {
        self.0.oom.inc();
    }

    /// All metrics in the OpenMetrics text format, with the state of `node` as it is now.
    ///
    /// # Errors
    /// When a value cannot be written; that is a mistake of crisp's.
    pub fn text(&self, node: &Node) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode_registry(&mut out, &self.0.registry)?;
        text::encode_registry(&mut out, &node::registry(node))?;
        text::encode_eof(&mut out)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(metrics: &Metrics) -> String {
        let mut out = String::new();
        text::encode_registry(&mut out, &metrics.0.registry).unwrap();
        out
    }

    #[test]
    fn a_call_is_counted_with_its_time_and_its_error() {
        let metrics = Metrics::default();
        let took = Duration::from_millis(3);
        metrics.operation_ended("RunPodSandbox", None, took);
        metrics.operation_ended("RunPodSandbox", Some(Code::Internal), took);
        let text = text(&metrics);
        let has = |line: &str| assert!(text.contains(line), "{line} is not in\n{text}");
        has("crisp_operations_total{operation=\"RunPodSandbox\"} 2");
        has("crisp_operations_latency_seconds_bucket{le=\"0.004\",operation=\"RunPodSandbox\"} 2");
        has("crisp_operations_errors_total{operation=\"RunPodSandbox\",code=\"Internal\"} 1");
    }

    #[test]
    fn methods_that_clients_make_up_have_one_line_together() {
        let metrics = Metrics::default();
        for method in ["A", "B"] {
            metrics.operation_ended(method, Some(Code::Unimplemented), Duration::ZERO);
        }
        assert!(text(&metrics).contains("crisp_operations_total{operation=\"unimplemented\"} 2"));
    }
}
