// SPDX-License-Identifier: Apache-2.0
//! Commands in containers.

use std::time::Duration;

use crisp_cri as v1;
use tonic::Status;

use super::{Cri, limits, status::refuse, translate::Invalid};
use crate::{
    containers::exec_sync::{Patience, exec_sync},
    server::seen,
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
}

/// Seconds; 0 for no limit.
fn patience(timeout: i64) -> Result<Patience, Invalid> {
    match u64::try_from(timeout) {
        Ok(0) => Ok(Patience::Unlimited),
        Ok(seconds) => Ok(Patience::For(Duration::from_secs(seconds))),
        Err(_) => Err(Invalid::new("timeout", format!("{timeout} is negative"))),
    }
}
