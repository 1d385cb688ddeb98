// SPDX-License-Identifier: Apache-2.0
//! Commands in containers, and clients joined to containers and pods.

use std::time::Duration;

use crisp_cri as v1;
use tonic::Status;

use super::{
    Cri, limits,
    status::{Classify, Kind, refuse},
    translate::Invalid,
};
use crate::{
    containers::{
        exec_sync::{Patience, exec_sync},
        spec::Terminal,
    },
    server::seen,
    sessions::{self, SessionError, ticket::Wants},
};

impl Cri {
    pub(super) async fn exec(
        &self,
        request: v1::ExecSyncRequest,
    ) -> Result<v1::ExecSyncResponse, Status> {
        seen(&request.container_id);
        let patience = patience(request.timeout).map_err(refuse)?;
        let done = exec_sync(&self.node.context, &request.container_id, request.cmd, patience);
        let done = done.await.map_err(refuse)?;
        let (stdout, stderr) = limits::fit(done.captured.stdout, done.captured.stderr);
        Ok(v1::ExecSyncResponse { stdout, stderr, exit_code: done.code })
    }

    pub(super) fn open_exec(&self, request: v1::ExecRequest) -> Result<v1::ExecResponse, Status> {
        seen(&request.container_id);
        let wants = Wants { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr };
        let (id, terminal) = (&request.container_id, terminal(request.tty));
        let work = sessions::exec(&self.node.context, id, request.cmd, terminal, wants);
        let url =
            work.and_then(|work| self.sessions.start(&self.node.context, work)).map_err(refuse)?;
        Ok(v1::ExecResponse { url })
    }

    pub(super) fn open_attach(
        &self,
        request: v1::AttachRequest,
    ) -> Result<v1::AttachResponse, Status> {
        seen(&request.container_id);
        let wants = Wants { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr };
        let (id, terminal) = (&request.container_id, terminal(request.tty));
        let work = sessions::attach(&self.node.context, id, terminal, wants);
        let url =
            work.and_then(|work| self.sessions.start(&self.node.context, work)).map_err(refuse)?;
        Ok(v1::AttachResponse { url })
    }

    /// The ports in the request do not matter: clients name one for each connection.
    pub(super) fn open_port_forward(
        &self,
        request: v1::PortForwardRequest,
    ) -> Result<v1::PortForwardResponse, Status> {
        seen(&request.pod_sandbox_id);
        let work = sessions::forward(&self.node.context, &request.pod_sandbox_id);
        let url =
            work.and_then(|work| self.sessions.start(&self.node.context, work)).map_err(refuse)?;
        Ok(v1::PortForwardResponse { url })
    }
}

impl Classify for SessionError {
    fn kind(&self) -> Kind {
        match self {
            Self::Pod(error) => error.kind(),
            Self::Invalid(_) => Kind::Invalid,
            Self::Exhausted(_) => Kind::Exhausted,
            Self::Listen { .. } | Self::Start(_) => Kind::Internal,
        }
    }
}

fn terminal(tty: bool) -> Terminal {
    if tty { Terminal::Tty } else { Terminal::None }
}

/// Seconds; 0 for no limit.
fn patience(timeout: i64) -> Result<Patience, Invalid> {
    match u64::try_from(timeout) {
        Ok(0) => Ok(Patience::Unlimited),
        Ok(seconds) => Ok(Patience::For(Duration::from_secs(seconds))),
        Err(_) => Err(Invalid::new("timeout", format!("{timeout} is negative"))),
    }
}
