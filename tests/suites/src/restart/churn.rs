// SPDX-License-Identifier: Apache-2.0
//! Kills at random instants while clients make, use and remove pods. A client whose call was cut
//! off repeats it, as a kubelet does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use crisp_conformance::{
    cri::{CallError, Cri},
    edit::strings,
    fixture::Test,
    images,
    pod::Pod,
};
use crisp_cri::*;
use tonic::Code;

use crate::{
    dice::Dice,
    stage::{Scale, Stage},
    traces,
};

const CLIENTS: u64 = 4;
/// Longest time until a repeated call is answered.
const PATIENCE: Duration = Duration::from_secs(60);

/// What happened meanwhile, over all clients.
#[derive(Debug, Default)]
struct Tally {
    pods: AtomicU64,
    repeated: AtomicU64,
    adopted: AtomicU64,
}

/// Kills, restarts, and at the end nothing is there.
pub async fn kills_at_random_instants_lose_and_leave_nothing(stage: &mut Stage) -> Result<()> {
    stage.test.ensure_image(images::BUSYBOX).await?;
    let kills = if stage.scale == Scale::Full { 100 } else { 15 };
    let (ends, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Tally::default()));
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let client = Client {
            test: stage.test.clone(),
            dice: Dice::new(stage.seed * 1000 + number),
            tally: tally.clone(),
        };
        clients.spawn(client.churn(ends.clone()));
    }
    let mut dice = Dice::new(stage.seed);
    for _ in 0..kills {
        tokio::time::sleep(dice.millis(20..900)).await;
        stage.node.again().await?;
    }
    ends.store(true, Relaxed);
    let mut failures = Vec::new();
    while let Some(ended) = clients.join_next().await {
        failures.extend(ended?.err().map(|error| format!("{error:#}")));
    }
    println!(
        "        seed {}, {kills} kills, {} pods, {} calls repeated, {} answers found in the list",
        stage.seed,
        tally.pods.load(Relaxed),
        tally.repeated.load(Relaxed),
        tally.adopted.load(Relaxed)
    );
    ensure!(failures.is_empty(), "{}", failures.join("\n  "));
    ensure!(tally.pods.load(Relaxed) > 0, "no pod was made");
    let left = stage.pods().await?;
    ensure!(left.is_empty(), "listed after all were removed: {left:?}");
    traces::none_left(&stage.node).await
}

struct Client {
    test: Test,
    dice: Dice,
    tally: Arc<Tally>,
}

impl Client {
    async fn churn(mut self, ends: Arc<AtomicBool>) -> Result<()> {
        while !ends.load(Relaxed) {
            self.one_pod().await?;
            self.tally.pods.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    /// A pod's whole life, in one of several ways.
    async fn one_pod(&mut self) -> Result<()> {
        let config = self.test.pod_config()?;
        let id = self.run(&config).await?;
        let pod = Pod { id: id.clone(), config, test: self.test.clone() };
        for _ in 0..self.dice.of(0..3) {
            self.one_container(&pod).await?;
        }
        if self.dice.of(0..3) > 0 {
            let request = StopPodSandboxRequest { pod_sandbox_id: id.clone() };
            self.ask(|cri| cri.stop_pod_sandbox(request.clone())).await?;
        }
        let request = RemovePodSandboxRequest { pod_sandbox_id: id };
        self.ask(|cri| cri.remove_pod_sandbox(request.clone())).await.map(drop)
    }

    async fn one_container(&mut self, pod: &Pod) -> Result<()> {
        let mut config = pod.container_config();
        // Ends at once when asked to.
        config.command = strings(&["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"]);
        let id = self.create(pod, config).await?;
        let ways = self.dice.of(0..4);
        if ways == 0 {
            return Ok(());
        }
        self.start(&id).await?;
        let cmd = strings(&["echo", "here"]);
        let request = ExecSyncRequest { container_id: id.clone(), cmd, timeout: 20 };
        let answer = self.ask(|cri| cri.exec_sync(request.clone())).await?;
        ensure!(answer.stdout == b"here\n", "the exec of container {id} said {answer:?}");
        if ways > 1 {
            let request = StopContainerRequest { container_id: id.clone(), timeout: 5 };
            self.ask(|cri| cri.stop_container(request.clone())).await?;
        }
        if ways > 2 {
            let request = RemoveContainerRequest { container_id: id };
            self.ask(|cri| cri.remove_container(request.clone())).await?;
        }
        Ok(())
    }

    async fn run(&self, config: &PodSandboxConfig) -> Result<String> {
        let request = RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        match self.ask(|cri| cri.run_pod_sandbox(request.clone())).await {
            Ok(answer) => Ok(answer.pod_sandbox_id),
            Err(error) if is(&error, Code::AlreadyExists) => {
                // The answer was on its way when the daemon was killed.
                self.tally.adopted.fetch_add(1, Relaxed);
                let all = self.ask(|cri| cri.list_pod_sandbox(Default::default())).await?.items;
                let mine = all.into_iter().find(|pod| pod.metadata == config.metadata);
                Ok(mine.context("the name is taken, yet no pod has it")?.id)
            }
            Err(error) => Err(error),
        }
    }

    async fn create(&self, pod: &Pod, config: ContainerConfig) -> Result<String> {
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.id.clone(),
            config: Some(config.clone()),
            sandbox_config: Some(pod.config.clone()),
        };
        match self.ask(|cri| cri.create_container(request.clone())).await {
            Ok(answer) => Ok(answer.container_id),
            Err(error) if is(&error, Code::AlreadyExists) => {
                self.tally.adopted.fetch_add(1, Relaxed);
                let all = self.ask(|cri| cri.list_containers(Default::default())).await?;
                let mine = all.containers.into_iter().find(|container| {
                    container.pod_sandbox_id == pod.id && container.metadata == config.metadata
                });
                Ok(mine.context("the name is taken, yet no container has it")?.id)
            }
            Err(error) => Err(error),
        }
    }

    async fn start(&self, id: &str) -> Result<()> {
        let request = StartContainerRequest { container_id: id.to_owned() };
        let Err(error) = self.ask(|cri| cri.start_container(request.clone())).await else {
            return Ok(());
        };
        // Whoever repeats a start that was done is told that it runs.
        let request = ContainerStatusRequest { container_id: id.to_owned(), ..Default::default() };
        let status = self.ask(|cri| cri.container_status(request.clone())).await?.status;
        let state = status.as_ref().map(ContainerStatus::state);
        if state == Some(ContainerState::ContainerRunning) {
            return Ok(());
        }
        Err(error.context(format!("container {id} is {state:?}")))
    }

    /// Calls until there is an answer.
    async fn ask<'a, T, F>(&'a self, call: impl Fn(&'a Cri) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, CallError>> + 'a,
    {
        let began = Instant::now();
        loop {
            let error = match call(self.test.cri()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !was_cut_off(&error) {
                return Err(error.into());
            }
            if began.elapsed() > PATIENCE {
                bail!("no answer for {PATIENCE:?}, the last error: {error}");
            }
            self.tally.repeated.fetch_add(1, Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Whether the connection ended before the answer came.
fn was_cut_off(error: &CallError) -> bool {
    let text = error.to_string();
    match error.code() {
        Code::Unavailable | Code::Cancelled => true,
        Code::Unknown | Code::Internal => {
            text.contains("transport")
                || text.contains("h2 protocol")
                || text.contains("connection")
        }
        _ => false,
    }
}

fn is(error: &anyhow::Error, code: Code) -> bool {
    error.downcast_ref::<CallError>().is_some_and(|error| error.code() == code)
}
