// SPDX-License-Identifier: Apache-2.0
//! Buries a dead shim: its binary kills and removes what its server left.

use std::time::Duration;

use containerd_shim_protos::api::DeleteResponse;
use protobuf::Message;

use super::{
    Launch, Launcher, ShimError, TaskExit,
    spawn::{Run, run},
};

impl Launcher {
    /// Runs the shim's `delete`: the container is killed and removed and its root file system
    /// unmounted. By convention the status is 137.
    ///
    /// # Errors
    /// [`ShimError::Spawn`], [`ShimError::Exit`], [`ShimError::Deadline`],
    /// [`ShimError::Malformed`].
    pub async fn delete(
        &self,
        launch: &Launch<'_>,
        deadline: Duration,
    ) -> Result<TaskExit, ShimError> {
        let mut arguments = self.flags(launch);
        arguments.extend(["-bundle".into(), launch.bundle.into(), "delete".into()]);
        let stdout = run(Run {
            binary: launch.binary,
            verb: "delete",
            arguments,
            environment: self.environment(launch),
            directory: launch.bundle,
            stdin: Vec::new(),
            deadline,
        })
        .await
        .map_err(|failure| failure.error)?;
        let answer = DeleteResponse::parse_from_bytes(&stdout)
            .map_err(|e| ShimError::malformed(&launch.binary.display().to_string(), "delete", e))?;
        Ok(TaskExit::from_delete(&answer))
    }
}
