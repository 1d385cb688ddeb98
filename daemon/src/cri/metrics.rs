// SPDX-License-Identifier: Apache-2.0
//! Metrics of pods and containers on the wire.

use crisp_cri as v1;
use tonic::Status;

use super::{Cri, status::refuse};
use crate::stats::{
    PodSamples,
    metrics::{Descriptor, Kind, Sample},
};

impl Cri {
    pub(super) fn metric_descriptors(&self) -> Vec<v1::MetricDescriptor> {
        self.stats.descriptors().into_iter().map(descriptor).collect()
    }

    pub(super) async fn metrics(&self) -> Result<Vec<v1::PodSandboxMetrics>, Status> {
        let pods = self.stats.samples().await.map_err(refuse)?;
        Ok(pods.into_iter().map(pod).collect())
    }
}

fn descriptor(metric: &Descriptor) -> v1::MetricDescriptor {
    v1::MetricDescriptor {
        name: metric.name.to_owned(),
        help: metric.help.to_owned(),
        label_keys: metric.label_keys().map(str::to_owned).collect(),
    }
}

fn pod(pod: PodSamples) -> v1::PodSandboxMetrics {
    let container = |(id, samples): (crisp_words::ContainerId, Vec<Sample>)| v1::ContainerMetrics {
        container_id: id.to_string(),
        metrics: samples.into_iter().map(metric).collect(),
    };
    v1::PodSandboxMetrics {
        pod_sandbox_id: pod.id.to_string(),
        metrics: pod.samples.into_iter().map(metric).collect(),
        container_metrics: pod.containers.into_iter().map(container).collect(),
    }
}

fn metric(sample: Sample) -> v1::Metric {
    let kind = match sample.metric.kind {
        Kind::Counter => v1::MetricType::Counter,
        Kind::Gauge => v1::MetricType::Gauge,
    };
    v1::Metric {
        name: sample.metric.name.to_owned(),
        // Read for this answer, which is what 0 says.
        timestamp: 0,
        metric_type: kind.into(),
        label_values: sample.labels,
        value: Some(v1::UInt64Value { value: sample.value }),
    }
}
