// SPDX-License-Identifier: Apache-2.0
//! Times and memory beside those of another runtime, in one run, turn by turn. Nothing passes or
//! fails: it prints.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::Result;
use crisp_conformance::{Options, container::Container, fixture::Test, images, pod::Pod, suite};
use crisp_cri::{ListContainersRequest, ListPodSandboxRequest};

use crate::{proc::Memory, traces::all_pids};

/// What to compare.
#[derive(Debug, Clone, clap::Args)]
pub struct Plan {
    /// crisp's socket.
    #[arg(long, value_name = "UNIX-ADDRESS")]
    pub crisp: String,
    /// The other's socket.
    #[arg(long, value_name = "UNIX-ADDRESS")]
    pub peer: String,
    /// How many pods each.
    #[arg(long, default_value_t = 20)]
    pub rounds: usize,
}

/// What was measured of one runtime.
#[derive(Default)]
struct Figures {
    pod: Vec<Duration>,
    container: Vec<Duration>,
    exec: Vec<Duration>,
    list: Vec<Duration>,
    remove: Vec<Duration>,
    memory: Vec<u64>,
}

/// One runtime and its pods.
struct Side {
    test: Test,
    pods: Vec<(Pod, Container)>,
    figures: Figures,
}

/// Measures and prints.
pub async fn run(plan: &Plan) -> Result<()> {
    let (mut crisp, mut peer) = (Side::new(&plan.crisp).await?, Side::new(&plan.peer).await?);
    let measured = measure(&mut crisp, &mut peer, plan.rounds).await;
    for side in [&crisp, &peer] {
        for failure in side.test.clean_up().await {
            eprintln!("{failure}");
        }
    }
    measured?;
    print(&crisp.figures, &peer.figures);
    // That all could be measured is all that is judged.
    println!("\n1 passed, 0 failed, 0 skipped");
    Ok(())
}

async fn measure(crisp: &mut Side, peer: &mut Side, rounds: usize) -> Result<()> {
    for side in [&*crisp, &*peer] {
        side.test.ensure_image(images::BUSYBOX).await?;
        side.test.pod().await?.idle().await?.sh("true").await?;
    }
    for _ in 0..rounds {
        crisp.make().await?;
        peer.make().await?;
    }
    for _ in 0..rounds {
        crisp.list().await?;
        peer.list().await?;
    }
    crisp.weigh();
    peer.weigh();
    for _ in 0..rounds {
        crisp.remove().await?;
        peer.remove().await?;
    }
    Ok(())
}

impl Side {
    async fn new(endpoint: &str) -> Result<Self> {
        let options = Options { endpoint: endpoint.to_owned(), ..Options::default() };
        let test = Test::new(std::sync::Arc::new(suite(&options).await?))?;
        Ok(Self { test, pods: Vec::new(), figures: Figures::default() })
    }

    async fn make(&mut self) -> Result<()> {
        let began = Instant::now();
        let pod = self.test.pod().await?;
        self.figures.pod.push(began.elapsed());
        let began = Instant::now();
        let container = pod.idle().await?;
        self.figures.container.push(began.elapsed());
        for _ in 0..5 {
            let began = Instant::now();
            container.exec(&["true"]).await?;
            self.figures.exec.push(began.elapsed());
        }
        self.pods.push((pod, container));
        Ok(())
    }

    async fn list(&mut self) -> Result<()> {
        let began = Instant::now();
        self.test.cri().list_pod_sandbox(ListPodSandboxRequest::default()).await?;
        self.test.cri().list_containers(ListContainersRequest::default()).await?;
        self.figures.list.push(began.elapsed());
        Ok(())
    }

    async fn remove(&mut self) -> Result<()> {
        let Some((pod, _)) = self.pods.pop() else { return Ok(()) };
        let began = Instant::now();
        pod.stop().await?;
        pod.remove().await?;
        self.figures.remove.push(began.elapsed());
        Ok(())
    }

    /// What each pod costs besides its containers: processes that bear its id and no container's.
    fn weigh(&mut self) {
        for (pod, container) in &self.pods {
            let mut sum = 0;
            for pid in all_pids() {
                let text = |file| {
                    let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                    String::from_utf8_lossy(&bytes).into_owned()
                };
                let (command, cgroup) = (text("cmdline"), text("cgroup"));
                let of_pod = command.contains(&pod.id) || cgroup.contains(&pod.id);
                if of_pod && !cgroup.contains(&container.id) {
                    sum += Memory::of(pid).map_or(0, |memory| memory.pss);
                }
            }
            self.figures.memory.push(sum);
        }
    }
}

fn print(crisp: &Figures, peer: &Figures) {
    println!("{:<28} {:>12} {:>12} {:>8}", "median", "crisp", "peer", "ratio");
    let times = [
        ("RunPodSandbox, ms", &crisp.pod, &peer.pod),
        ("container create+start, ms", &crisp.container, &peer.container),
        ("ExecSync, ms", &crisp.exec, &peer.exec),
        ("both lists, ms", &crisp.list, &peer.list),
        ("pod stop+remove, ms", &crisp.remove, &peer.remove),
    ];
    for (name, one, other) in times {
        row(name, middle(one).as_secs_f64() * 1e3, middle(other).as_secs_f64() * 1e3);
    }
    row("PSS per pod, KiB", middle(&crisp.memory) as f64, middle(&peer.memory) as f64);
}

fn row(name: &str, crisp: f64, peer: f64) {
    println!("{name:<28} {crisp:>12.2} {peer:>12.2} {:>8.2}", crisp / peer);
}

fn middle<T: Copy + Ord + Default>(values: &[T]) -> T {
    let mut sorted = values.to_vec();
    sorted.sort();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
