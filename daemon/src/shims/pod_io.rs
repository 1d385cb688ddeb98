// SPDX-License-Identifier: Apache-2.0
//! Pod I/O, as the daemon calls it: on crisp's own shim, or on a pod's I/O helper.

use std::{path::PathBuf, time::Duration};

use crisp_podio::{
    AttachRequest, AttachResponse, DrainedRequest, DrainedResponse, ReopenLogRequest,
    ReopenLogResponse, SERVICE, method,
};
use crisp_words::ContainerId;

use super::{IoHelper, ShimClient, ShimError};

/// Which streams an attachment carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttachStreams {
    /// Into the container.
    pub stdin: bool,
    /// Out of the container.
    pub stdout: bool,
    /// Out of the container; a terminal has none.
    pub stderr: bool,
}

/// Whoever serves a pod's streams: the one way to its logs and attachments.
#[derive(Clone)]
pub enum PodIo {
    /// crisp's own shim.
    Shim(ShimClient),
    /// The I/O helper beside a third-party shim.
    Helper(IoHelper),
}

impl PodIo {
    /// Opens a container's log anew; both streams write to the new file once this answers.
    ///
    /// # Errors
    /// Any [`ShimError`].
    pub async fn reopen_log(&self, id: &ContainerId, deadline: Duration) -> Result<(), ShimError> {
        match self {
            Self::Shim(shim) => shim.reopen_log(id, deadline).await,
            Self::Helper(helper) => {
                let call =
                    |client: ShimClient, left| async move { client.reopen_log(id, left).await };
                helper.repeat(deadline, call).await
            }
        }
    }

    /// Waits until all that a container wrote before its exit is in its log. To be called once its
    /// exit is known, before anyone else is told. A child that outlived the container and still
    /// writes does not hold this up for longer than a few seconds.
    ///
    /// # Errors
    /// Any [`ShimError`].
    pub async fn drained(&self, id: &ContainerId, deadline: Duration) -> Result<(), ShimError> {
        match self {
            // It tells an exit only after that.
            Self::Shim(_) => Ok(()),
            Self::Helper(helper) => {
                let call = |client: ShimClient, left| async move { client.drained(id, left).await };
                helper.repeat(deadline, call).await
            }
        }
    }

    /// Where attachments are to be asked for; [`ShimClient::attach`] does so.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Self::Shim(shim) => shim.address().to_owned(),
            Self::Helper(helper) => helper.address(),
        }
    }
}

impl ShimClient {
    /// Opens a container's log anew; both streams write to the new file once this answers.
    ///
    /// # Errors
    /// Any [`ShimError`].
    pub async fn reopen_log(&self, id: &ContainerId, deadline: Duration) -> Result<(), ShimError> {
        let request = ReopenLogRequest { container_id: id.to_string(), ..Default::default() };
        self.call::<_, ReopenLogResponse>(SERVICE, method::REOPEN_LOG, &request, deadline)
            .await
            .map(drop)
    }

    /// Prepares an attachment. Answers with the path of the socket on which its frames flow,
    /// good for one connection within a minute.
    ///
    /// # Errors
    /// Any [`ShimError`].
    pub async fn attach(
        &self,
        id: &ContainerId,
        streams: AttachStreams,
        deadline: Duration,
    ) -> Result<PathBuf, ShimError> {
        let request = AttachRequest {
            container_id: id.to_string(),
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
            ..Default::default()
        };
        let answer: AttachResponse = self.call(SERVICE, method::ATTACH, &request, deadline).await?;
        Ok(answer.socket.into())
    }

    /// Answers once all that a container wrote before its exit is in its log.
    ///
    /// # Errors
    /// Any [`ShimError`].
    pub async fn drained(&self, id: &ContainerId, deadline: Duration) -> Result<(), ShimError> {
        let request = DrainedRequest { container_id: id.to_string(), ..Default::default() };
        self.call::<_, DrainedResponse>(SERVICE, method::DRAINED, &request, deadline)
            .await
            .map(drop)
    }
}
