// SPDX-License-Identifier: Apache-2.0
//! The I/O helper: paid once per pod of a third-party shim.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use containerd_shim_protos::{bootstrap_api::BootstrapParams, shim_async::Client};
use crisp_conformance::want::equal;
use crisp_podio::{HelloRequest, OpenRequest, PodIoClient, ShutdownRequest};
use protobuf::Message;
use tokio::{
    io::AsyncWriteExt,
    process::Command,
    time::{sleep, timeout},
};

use crate::{
    proc::{Memory, switches, threads},
    stage::Stage,
};

const PODS: usize = 20;
/// Most that an idle helper of one container may have of its own, KiB.
const PRIVATE: u64 = 1024;
const SOON: Duration = Duration::from_secs(20);
const QUIET: Duration = Duration::from_secs(3);

struct Helper {
    client: PodIoClient,
    pid: u32,
}

/// Twenty alike: memory, threads, wake-ups.
pub async fn idle_io_helpers_are_small_and_sleep(stage: &mut Stage) -> Result<()> {
    let shim = stage.node.parts().shim.clone();
    let dir = stage.test.make_dir("io")?;
    let mut helpers = Vec::new();
    for n in 0..PODS {
        helpers.push(start(&shim, &dir.join(n.to_string()), n).await?);
    }
    sleep(QUIET).await;
    let before = each(&helpers, switches)?;
    sleep(QUIET).await;
    let after = each(&helpers, switches)?;
    let memory = each(&helpers, Memory::of)?;
    let threads = each(&helpers, threads)?;
    for helper in &helpers {
        helper.client.shutdown(&ShutdownRequest::new()).await?;
    }
    let mean = |of: fn(&Memory) -> u64| memory.iter().map(of).sum::<u64>() / PODS as u64;
    let most = memory.iter().map(|m| m.private_dirty).max().unwrap_or(0);
    println!(
        "        {PODS} idle I/O helpers: PSS mean {} KiB, private dirty mean {} most {most} KiB \
         (budget {PRIVATE})",
        mean(|m| m.pss),
        mean(|m| m.private_dirty),
    );
    equal("threads of each helper", threads, vec![1; PODS])?;
    equal(&format!("times that helpers woke up in {QUIET:?}"), &after, &before)?;
    ensure!(most <= PRIVATE, "a helper has {most} KiB of its own, {PRIVATE} are allowed");
    Ok(())
}

/// A helper that serves one container whose shim has not come yet.
async fn start(shim: &Path, bundle: &Path, number: usize) -> Result<Helper> {
    fs::create_dir_all(bundle)?;
    let id = format!("pod-{number}");
    let params = BootstrapParams {
        instance_id: id.clone(),
        namespace: "budgets".to_owned(),
        // A socket's path is short; the suite's directory is too.
        socket_dir: bundle.parent().map(|dir| dir.join("s").display().to_string()),
        ..Default::default()
    };
    let mut child = Command::new(shim)
        .args(["-namespace", "budgets", "-address", "/none", "-publish-binary", "/bin/true"])
        .args(["-id", &id, "io"])
        .current_dir(bundle)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    stdin.write_all(&params.write_to_bytes()?).await?;
    drop(stdin);
    let output = timeout(SOON, child.wait_with_output()).await??;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let address = answer["address"].as_str().context("no address")?;
    let client = PodIoClient::new(Client::connect(address).await?, SOON);
    let pid = client.hello(&HelloRequest::new()).await?.pid;
    let path = |name: &str| -> PathBuf { bundle.join(name) };
    let open = OpenRequest {
        container_id: "c".to_owned(),
        log_path: path("0.log").display().to_string(),
        stdin: true,
        dir: bundle.display().to_string(),
        ..Default::default()
    };
    client.open(&open).await?;
    Ok(Helper { client, pid })
}

fn each<T>(helpers: &[Helper], measure: impl Fn(u32) -> Result<T>) -> Result<Vec<T>> {
    helpers.iter().map(|helper| measure(helper.pid)).collect()
}
