// SPDX-License-Identifier: Apache-2.0
//! Registries that do not answer.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::net::TcpListener;
use tonic::Code;

use super::{Bystander, fails};
use crate::stage::Stage;

/// Longest time until a pull is given up: five tries by TLS and five without, each up to the
/// deadline of 2 s, with pauses between them.
const LIMIT: Duration = Duration::from_secs(45);

/// A port where nobody listens.
pub async fn a_dead_registry_is_named(stage: &mut Stage) -> Result<()> {
    let bystander = Bystander::new(stage).await?;
    let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
    let host = format!("127.0.0.1:{port}");
    let image = format!("{host}/some/image:1");
    let before = stage.test.images().await?.len();
    let pull = stage.test.pull(&image);
    fails("PullImage", LIMIT, pull, &[Code::Unknown], &host).await?;
    let pull = stage.test.pull(&image);
    fails("PullImage", LIMIT, pull, &[Code::Unknown], "RegistryUnavailable").await?;
    let pull = stage.test.pull("no-such-host.invalid/some/image:1");
    fails("PullImage", LIMIT, pull, &[Code::Unknown], "no-such-host.invalid").await?;
    ensure!(stage.test.images().await?.len() == before, "a failed pull left an image");
    bystander.unharmed(stage).await
}

/// A port where somebody listens and says nothing.
pub async fn a_silent_registry_is_given_up(stage: &mut Stage) -> Result<()> {
    let bystander = Bystander::new(stage).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let host = format!("127.0.0.1:{}", listener.local_addr()?.port());
    let image = format!("{host}/some/image:1");
    let silent = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
        }
    });
    let pull = stage.test.pull(&image);
    fails("PullImage", LIMIT, pull, &[Code::Unknown], &host).await?;
    silent.abort();
    bystander.unharmed(stage).await
}
