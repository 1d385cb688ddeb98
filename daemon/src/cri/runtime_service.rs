// SPDX-License-Identifier: Apache-2.0
//! `runtime.v1.RuntimeService`: every method, each a line that calls its group's file.

use crisp_cri::{self as v1, runtime_service_server::RuntimeService};
use tonic::{Request, Response, Status, async_trait};

use super::Cri;

#[async_trait]
impl RuntimeService for Cri {
    async fn version(
        &self,
        _: Request<v1::VersionRequest>,
    ) -> Result<Response<v1::VersionResponse>, Status> {
        Ok(Response::new(self.version()))
    }
}
