// SPDX-License-Identifier: Apache-2.0

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use protobuf::Message;
use tokio::sync::Mutex;

use super::{
    ShimError, TaskApi,
    connection::{Call, Connection},
};

/// How long a further connection to a shim that answered before may take to be made.
const RECONNECT: Duration = Duration::from_secs(5);

/// Where a shim listens and what it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShimTarget {
    /// What the shim's `start` printed: `unix:///path` or the name of an abstract socket.
    pub address: String,
    /// The containerd namespace its containers are in.
    pub namespace: String,
    /// The Task API it said it serves; corrected by the first call if it does not.
    pub task_api: TaskApi,
}

/// A client of one shim. Clones share its connections.
///
/// Calls may be dropped at any time; the exchange with the shim then goes on without its caller.
#[derive(Clone)]
pub struct ShimClient(Arc<Inner>);

struct Inner {
    target: ShimTarget,
    calls: Connection,
    /// The connection for `Wait` alone, made when first needed: a call there has no deadline and
    /// must not be lost to a deadline of another.
    waits: Mutex<Option<Connection>>,
    /// [`Api`] as a number.
    api: AtomicU8,
}

/// Which name of the Task service is in use, and whether the shim has answered to it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Api {
    version: TaskApi,
    settled: bool,
}

impl Api {
    fn pack(self) -> u8 {
        u8::from(self.version == TaskApi::V3) | u8::from(self.settled) << 1
    }

    fn unpack(bits: u8) -> Self {
        let version = if bits & 1 == 1 { TaskApi::V3 } else { TaskApi::V2 };
        Self { version, settled: bits & 2 != 0 }
    }
}

impl ShimClient {
    /// Connects to a shim. Makes no call: [`ShimClient::connected`] is the ping.
    ///
    /// # Errors
    /// [`ShimError::Dead`] when nobody listens there, [`ShimError::Deadline`].
    pub async fn connect(target: ShimTarget, deadline: Duration) -> Result<Self, ShimError> {
        let calls = Connection::open(&target.address, &target.namespace, deadline).await?;
        let api = Api { version: target.task_api, settled: false }.pack();
        Ok(Self(Arc::new(Inner {
            target,
            calls,
            waits: Mutex::new(None),
            api: AtomicU8::new(api),
        })))
    }

    /// The shim's address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.0.target.address
    }

    /// The Task API in use.
    #[must_use]
    pub fn task_api(&self) -> TaskApi {
        Api::unpack(self.0.api.load(Ordering::Relaxed)).version
    }

    /// Resolves once the shim has closed the connection: it ended, died, or was replaced. At
    /// once if it already has.
    pub async fn closed(&self) {
        self.0.calls.closed().await;
    }

    /// Whether the connection is gone already.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.calls.is_closed()
    }

    /// How many calls a Go server refused for the order of their frames; they were sent again.
    /// Anything but 0 means that ttrpc's queue was overtaken.
    #[must_use]
    pub fn reordered(&self) -> u64 {
        self.0.calls.reordered()
    }

    pub(super) fn name(&self) -> &str {
        self.0.calls.shim()
    }

    pub(super) async fn call<M: Message, A: Message>(
        &self,
        service: &str,
        method: &str,
        request: &M,
        deadline: Duration,
    ) -> Result<A, ShimError> {
        self.0.calls.call(Call { service, method, request }, deadline).await
    }

    /// Calls the Task service under the name that the shim serves.
    pub(super) async fn task<M: Message, A: Message>(
        &self,
        method: &str,
        request: &M,
        deadline: Duration,
    ) -> Result<A, ShimError> {
        let api = Api::unpack(self.0.api.load(Ordering::Relaxed));
        let first = self.call(api.version.service(), method, request, deadline).await;
        if api.settled {
            return first;
        }
        self.settle(api.version, first, || async {
            self.call(api.version.other().service(), method, request, deadline).await
        })
        .await
    }

    /// Calls a method that answers when something ends, on the connection for such calls.
    pub(super) async fn wait_for<M: Message, A: Message>(
        &self,
        service: Service,
        method: &str,
        request: &M,
    ) -> Result<A, ShimError> {
        let connection = self.waits().await?;
        let api = Api::unpack(self.0.api.load(Ordering::Relaxed));
        let call = |service| connection.call_and_wait(Call { service, method, request });
        let Service::Task = service else {
            return call(super::sandbox::SERVICE).await;
        };
        let first = call(api.version.service()).await;
        if api.settled {
            return first;
        }
        self.settle(api.version, first, || call(api.version.other().service())).await
    }

    /// Decides by the answer to the first call which name the shim serves. Both names carry the
    /// same messages; a shim that does not know one answers UNIMPLEMENTED.
    async fn settle<A, F, T>(
        &self,
        tried: TaskApi,
        first: Result<A, ShimError>,
        second: F,
    ) -> Result<A, ShimError>
    where
        F: FnOnce() -> T,
        T: Future<Output = Result<A, ShimError>>,
    {
        let settle = |version| {
            self.0.api.store(Api { version, settled: true }.pack(), Ordering::Relaxed);
        };
        match &first {
            Err(ShimError::Unimplemented { .. }) => {}
            Err(ShimError::Dead { .. } | ShimError::Deadline { .. }) => return first,
            _ => {
                settle(tried);
                return first;
            }
        }
        match second().await {
            Err(ShimError::Unimplemented { .. }) => first,
            Err(lost @ (ShimError::Dead { .. } | ShimError::Deadline { .. })) => Err(lost),
            answer => {
                settle(tried.other());
                answer
            }
        }
    }

    async fn waits(&self) -> Result<Connection, ShimError> {
        let mut waits = self.0.waits.lock().await;
        if let Some(connection) = waits.as_ref().filter(|c| !c.is_closed()) {
            return Ok(connection.clone());
        }
        let target = &self.0.target;
        let connection = Connection::open(&target.address, &target.namespace, RECONNECT).await?;
        *waits = Some(connection.clone());
        Ok(connection)
    }
}

/// A service that has a call without a deadline.
#[derive(Clone, Copy)]
pub(super) enum Service {
    Task,
    Sandbox,
}
