// SPDX-License-Identifier: Apache-2.0
//! Events for whoever started the shim: hints, never the truth. They go to the ttrpc address the
//! caller gave, in order, through a bounded queue; work never waits for them, and when nobody takes
//! them they are dropped.

use std::{
    env,
    time::{Duration, SystemTime},
};

use containerd_shim_protos::{
    api::ForwardRequest,
    shim::event::Envelope,
    shim_async::{Client, EventsClient},
};
use protobuf::{Message, well_known_types::any::Any};
use tokio::{sync::mpsc, time::sleep};
use ttrpc::context;

use crate::service::timestamp;

/// Events that may wait for a slow or absent taker.
const QUEUE: usize = 256;
/// How long a taker may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// Pauses between the attempts to deliver one event; after the last it is dropped.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(3)];
/// Where the caller wants them.
const ADDRESS: &str = "TTRPC_ADDRESS";

/// The way out for events; without an address everything is dropped at once.
pub(crate) struct Events {
    queue: Option<mpsc::Sender<Envelope>>,
    namespace: String,
}

impl Events {
    /// Takes the address from the environment and begins to deliver.
    pub(crate) fn start(namespace: &str) -> Self {
        let address = env::var(ADDRESS).ok().filter(|a| !a.is_empty());
        let queue = address.map(|address| {
            let (sender, receiver) = mpsc::channel(QUEUE);
            let address =
                if address.contains("://") { address } else { format!("unix://{address}") };
            tokio::spawn(deliver(address, receiver));
            sender
        });
        Self { queue, namespace: namespace.to_owned() }
    }

    /// Puts one event in the queue.
    pub(crate) fn publish<M: Message>(&self, topic: &str, event: &M) {
        let Some(queue) = &self.queue else { return };
        let Ok(value) = event.write_to_bytes() else { return };
        let type_url = format!("containerd.events.{}", M::NAME);
        let mut envelope = Envelope::new();
        envelope.timestamp = Some(timestamp(SystemTime::now())).into();
        envelope.namespace.clone_from(&self.namespace);
        envelope.topic = topic.to_owned();
        envelope.event = Some(Any { type_url, value, ..Any::default() }).into();
        let _ = queue.try_send(envelope);
    }
}

async fn deliver(address: String, mut queue: mpsc::Receiver<Envelope>) {
    let mut client = None;
    while let Some(envelope) = queue.recv().await {
        let mut request = ForwardRequest::new();
        request.envelope = Some(envelope).into();
        for pause in PAUSES {
            if forward(&mut client, &address, &request).await {
                break;
            }
            client = None;
            sleep(pause).await;
        }
    }
}

async fn forward(
    client: &mut Option<EventsClient>,
    address: &str,
    request: &ForwardRequest,
) -> bool {
    if client.is_none() {
        *client = Client::connect(address).await.ok().map(EventsClient::new);
    }
    let Some(client) = client else { return false };
    let deadline = i64::try_from(DEADLINE.as_nanos()).unwrap_or(i64::MAX);
    let mut context = context::with_timeout(deadline);
    let namespace = request.envelope.namespace.clone();
    context.add("containerd-namespace-ttrpc".to_owned(), namespace);
    client.forward(context, request).await.is_ok()
}
