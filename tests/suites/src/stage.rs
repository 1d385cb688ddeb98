// SPDX-License-Identifier: Apache-2.0
//! Runs the cases of a suite, each on a node of its own, and counts.

use std::{
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use crisp_conformance::{container::Container, cri::Cri, fixture::Test, pod::Pod};
use crisp_cri::{
    ContainerStatusRequest, ListPodSandboxRequest, PodSandboxStatusRequest,
    RemovePodSandboxRequest, StopPodSandboxRequest,
};
use tokio::time::timeout;

use crate::{
    node::{Node, Parts, last_lines},
    proc, traces,
};

/// Longest time for one case.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a case has in its hands.
pub struct Stage {
    /// The node under test.
    pub node: Node,
    /// Pods, containers and their undo.
    pub test: Test,
    /// What random choices begin with.
    pub seed: u64,
    /// How much to do where a case can do more or less of it.
    pub scale: Scale,
}

/// How much to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scale {
    /// What fits a run on every change.
    Quick,
    /// What the budgets speak of.
    Full,
}

/// The future of a case.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// One case: a sentence of behaviour, how its node is configured before the daemon starts, and
/// the check.
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// Changes the node before its daemon starts.
    pub setting: fn(&Node) -> Result<()>,
    /// The check.
    pub check: for<'a> fn(&'a mut Stage) -> Running<'a>,
}

/// Cases by the names of their functions: `cases![a, b with settings]`.
#[macro_export]
macro_rules! cases {
    ($($module:ident::$name:ident $(with $setting:path)?),* $(,)?) => {
        &[$($crate::stage::Case {
            name: stringify!($name),
            setting: $crate::cases!(@setting $($setting)?),
            check: |stage| Box::pin($module::$name(stage)),
        }),*]
    };
    (@setting) => { |_| Ok(()) };
    (@setting $setting:path) => { $setting };
}

/// What to run, and with what.
#[derive(Debug, Clone, clap::Args)]
pub struct Plan {
    /// What nodes are made of.
    #[command(flatten)]
    pub parts: Parts,
    /// Where nodes are made.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Only cases whose name holds this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub only: String,
    /// What random choices begin with.
    #[arg(long, default_value_t = 8)]
    pub seed: u64,
    /// How much to do.
    #[arg(long, value_enum, default_value = "quick")]
    pub scale: Scale,
    /// Leave the directories of failed cases.
    #[arg(long)]
    pub keep: bool,
}

/// Runs the cases one after the other; true if all passed.
pub async fn run(plan: &Plan, cases: &[Case]) -> Result<bool> {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut failures = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        if !case.name.contains(&plan.only) {
            skipped += 1;
            continue;
        }
        let began = Instant::now();
        let dir = plan.dir.join(format!("n{number}"));
        let result = run_case(plan, case, &dir).await;
        let took = began.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                passed += 1;
                println!("ok      {} ({took:.1} s)", case.name);
            }
            Err(error) => {
                failed += 1;
                println!("FAILED  {} ({took:.1} s)\n  {error:#}", case.name);
                failures.push(case.name);
            }
        }
    }
    if !failures.is_empty() {
        println!("\nfailed: {}", failures.join(", "));
    }
    ensure!(passed + failed > 0, "no case's name holds {:?}", plan.only);
    println!("\n{passed} passed, {failed} failed, {skipped} skipped");
    Ok(failed == 0)
}

async fn run_case(plan: &Plan, case: &Case, dir: &Path) -> Result<()> {
    let node = Node::prepare(&plan.parts, dir).await?;
    (case.setting)(&node)?;
    let (mut node, ran) = on_node(plan, case, node).await;
    let said = last_lines(&node.log(), 25);
    let result = ran.and(node.end().await);
    if result.is_err() && plan.keep {
        return result.with_context(|| format!("see {}", dir.display()));
    }
    // Before the removal, lest that reaches through a mount.
    let unmounted = unmount_below(node.dir());
    let removed = std::fs::remove_dir_all(dir).with_context(|| dir.display().to_string());
    match result {
        Ok(()) => unmounted.and(removed),
        Err(error) => Err(anyhow!("{error:#}\nthe daemon's last words:\n{said}")),
    }
}

async fn on_node(plan: &Plan, case: &Case, mut node: Node) -> (Node, Result<()>) {
    let test = match begin(&mut node).await {
        Ok(test) => test,
        Err(error) => return (node, Err(error)),
    };
    let mut stage = Stage { node, test, seed: plan.seed, scale: plan.scale };
    let checked = timeout(PATIENCE, (case.check)(&mut stage)).await;
    let checked = checked.unwrap_or_else(|_| Err(anyhow!("not done after {PATIENCE:?}")));
    let cleaned = stage.clean_up().await;
    if checked.is_err() || cleaned.is_err() {
        stage.sweep().await;
    }
    let left = match &cleaned {
        Ok(()) => traces::none_left(&stage.node).await,
        Err(_) => Ok(()),
    };
    (stage.node, checked.and(cleaned).and(left))
}

async fn begin(node: &mut Node) -> Result<Test> {
    node.start().await?;
    Test::new(node.client("").await?)
}

/// Unmounts all that a failed case left mounted below its directory, and the mounts of the node
/// itself.
fn unmount_below(dir: &Path) -> Result<()> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let below: Vec<_> = points.filter(|p| Path::new(p).starts_with(dir)).collect();
    for point in below.into_iter().rev() {
        let flags = nix::mount::MntFlags::MNT_DETACH;
        nix::mount::umount2(point, flags).with_context(|| format!("umount {point}"))?;
    }
    Ok(())
}

impl Stage {
    /// The client. It follows the daemon through restarts.
    #[must_use]
    pub fn cri(&self) -> &Cri {
        self.test.cri()
    }

    /// Removes all pods, with a daemon started for it if need be.
    async fn clean_up(&mut self) -> Result<()> {
        if self.node.pid().is_err() {
            self.node.start().await?;
        }
        let failures = self.test.clean_up().await;
        ensure!(failures.is_empty(), "{}", failures.join("; "));
        Ok(())
    }

    /// After a failure: ends what the case does not know of, lest the cases after it find that.
    async fn sweep(&self) {
        for pod_sandbox_id in self.pods().await.unwrap_or_default() {
            let stop = StopPodSandboxRequest { pod_sandbox_id: pod_sandbox_id.clone() };
            let stopped = self.cri().stop_pod_sandbox(stop).await.map(drop);
            let remove = RemovePodSandboxRequest { pod_sandbox_id };
            if let Err(error) = stopped.and(self.cri().remove_pod_sandbox(remove).await.map(drop)) {
                println!("        not removed: {error}");
            }
        }
        traces::kill(&self.node);
    }

    /// Pid of a running container's process, from the verbose status.
    pub async fn pid(&self, container: &Container) -> Result<u32> {
        let request = ContainerStatusRequest { container_id: container.id.clone(), verbose: true };
        let info = self.cri().container_status(request).await?.info;
        let info: serde_json::Value = serde_json::from_str(info.get("info").context("no info")?)?;
        let pid = info["pid"].as_u64().with_context(|| format!("no pid in {info}"))?;
        Ok(u32::try_from(pid)?)
    }

    /// Which process a running container is.
    pub async fn process(&self, container: &Container) -> Result<proc::Process> {
        proc::Process::of(self.pid(container).await?)
    }

    /// Pid of a pod's shim.
    pub fn shim_of(&self, pod: &Pod) -> Result<u32> {
        proc::shims(self.node.shim())
            .find(|(_, command)| command.contains(&pod.id))
            .map(|(pid, _)| pid)
            .with_context(|| format!("pod {} has no shim", pod.id))
    }

    /// Pid of a pod's shim, whoever made it, from the verbose status.
    pub async fn shim_pid(&self, pod: &Pod) -> Result<u32> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: pod.id.clone(), verbose: true };
        let info = self.cri().pod_sandbox_status(request).await?.info;
        let info: serde_json::Value = serde_json::from_str(info.get("info").context("no info")?)?;
        let pid = info["shim"]["pid"].as_u64().with_context(|| format!("no pid in {info}"))?;
        Ok(u32::try_from(pid)?)
    }

    /// A pod, and a container that sleeps in it.
    pub async fn pod_with_container(&self) -> Result<(Pod, Container)> {
        let pod = self.test.pod().await?;
        let container = pod.idle().await?;
        Ok((pod, container))
    }
}

impl Stage {
    /// Ids of all pods, sorted.
    pub async fn pods(&self) -> Result<Vec<String>> {
        let all = self.cri().list_pod_sandbox(ListPodSandboxRequest::default()).await?;
        let mut ids: Vec<_> = all.items.into_iter().map(|pod| pod.id).collect();
        ids.sort();
        Ok(ids)
    }
}
