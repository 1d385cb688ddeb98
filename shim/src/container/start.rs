// SPDX-License-Identifier: Apache-2.0

use std::{future::pending, sync::Arc};

use containerd_shim_protos::events::task::TaskStart;

use super::{Container, ContainerError};
use crate::{
    pod::Pod,
    process::{Phase, Verb},
};

impl Container {
    /// Lets init run the user's program.
    pub(crate) async fn start(self: &Arc<Self>, pod: &Pod) -> Result<u32, ContainerError> {
        let _verb = self.verb.lock().await;
        self.admit(Verb::Start)?;
        self.init.enter(Phase::Starting);
        let log = self.log();
        let argv = self.driven.runtime.start(&self.id, &log);
        let init = self.init.live();
        let over = async {
            match &init {
                Some(init) => init.over().await,
                None => pending().await,
            }
        };
        let ran = self.call(pod, &log).run_until(&argv, None, over).await;
        if let Err(source) = ran {
            // Init may be dead by now; then its exit is told next.
            self.init.enter(Phase::Created);
            let thing = format!("container {}", self.id);
            return Err(ContainerError::Runtime { verb: "start", thing, source });
        }
        let pid = self.init.pid();
        let event = TaskStart { container_id: self.id.clone(), pid, ..TaskStart::default() };
        pod.events.publish("/tasks/start", &event);
        self.init.enter(Phase::Running);
        Ok(pid)
    }
}
