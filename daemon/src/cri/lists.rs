// SPDX-License-Identifier: Apache-2.0
//! Lists of pods, containers and images, whole and as streams. A stream is the list, taken once.

use std::sync::Arc;

use crisp_cri as v1;
use futures::stream;
use prost::Message;
use tonic::Status;

use super::{
    Cri,
    chunks::{CHUNK_SIZE, chunks},
    events::Answers,
    show_container, show_pod,
    status::refuse,
    translate::{ContainerFilter, PodFilter, select},
};
use crate::containers::record::ContainerRecord;

/// `items` as a stream of messages, each made by `message` from some of them.
pub(super) fn in_chunks<T, M>(
    items: Vec<T>,
    message: impl Fn(Vec<T>) -> M + Send + 'static,
) -> Answers<M>
where
    T: Message + 'static,
    M: Send + 'static,
{
    Box::pin(stream::iter(chunks(items, CHUNK_SIZE).map(move |chunk| Ok(message(chunk)))))
}

impl Cri {
    pub(super) fn pods(
        &self,
        filter: Option<v1::PodSandboxFilter>,
    ) -> Result<Vec<v1::PodSandbox>, Status> {
        let filter = PodFilter::new(filter).map_err(refuse)?;
        let mut pods = self.node.pods();
        pods.retain(|view| view.pod.is_visible());
        Ok(select(pods, &filter.id, |view| view.pod.id.as_str())
            .iter()
            .filter(|view| filter.accepts(show_pod::state(&view.pod), &view.pod.config.labels))
            .map(|view| show_pod::item(&view.pod))
            .collect())
    }

    pub(super) fn containers(
        &self,
        filter: Option<v1::ContainerFilter>,
    ) -> Result<Vec<v1::Container>, Status> {
        let filter = ContainerFilter::new(filter).map_err(refuse)?;
        let containers = select(self.visible_containers(), &filter.pod, |c| c.pod.as_str());
        Ok(select(containers, &filter.id, |c| c.id.as_str())
            .iter()
            .filter(|c| filter.accepts(show_container::state(c), &c.config.labels))
            .map(|c| show_container::item(c))
            .collect())
    }

    /// Containers of all pods that lists show.
    fn visible_containers(&self) -> Vec<Arc<ContainerRecord>> {
        let pods = self.node.pods();
        let all = pods.iter().filter(|view| view.pod.is_visible()).flat_map(|v| &v.containers);
        all.filter(|c| c.is_visible()).cloned().collect()
    }
}
