// SPDX-License-Identifier: Apache-2.0
//! A real kubelet, standalone with static pods, on crisp. To be run on a ground of its own
//! (`tests/endpoints/ground`): a kubelet's places are fixed and it claims a whole host.
//!
//! One node serves all cases. First the quiet ones, side by side; then those that kill the kubelet
//! or crisp, one after the other.

mod daemon;
mod hooks;
mod http;
mod logs;
mod manifest;
mod namespaces;
mod order;
mod outages;
mod probes;
mod restarts;
mod site;
mod volumes;

use std::{
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};

use self::site::Site;
use crate::{
    node::{Node, Parts, last_lines},
    traces,
};

/// Longest time for one case.
const PATIENCE: Duration = Duration::from_secs(180);

/// How many quiet cases run side by side.
const ABREAST: usize = 4;

/// What to run, and with what.
#[derive(Debug, Clone, clap::Args)]
pub struct Plan {
    /// What the node is made of.
    #[command(flatten)]
    pub parts: Parts,
    /// The kubelet.
    #[arg(long, value_name = "FILE")]
    pub kubelet: PathBuf,
    /// Where the node is made.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Only cases whose name holds this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub only: String,
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

struct Quiet {
    name: &'static str,
    check: fn(Arc<Site>) -> Running<'static>,
}

struct Loud {
    name: &'static str,
    check: for<'a> fn(&'a mut Site) -> Running<'a>,
}

macro_rules! quiet {
    ($($module:ident::$name:ident),* $(,)?) => {
        &[$(Quiet { name: stringify!($name), check: |site| Box::pin(async move { $module::$name(&site).await }) }),*]
    };
}

macro_rules! loud {
    ($($module:ident::$name:ident),* $(,)?) => {
        &[$(Loud { name: stringify!($name), check: |site| Box::pin($module::$name(site)) }),*]
    };
}

const QUIET: &[Quiet] = quiet![
    order::init_containers_run_one_after_the_other_and_first,
    order::a_sidecar_starts_before_the_main_container_and_ends_after_it,
    probes::readiness_follows_exec_http_tcp_and_grpc_probes,
    probes::a_failed_liveness_probe_restarts_the_container,
    probes::a_startup_probe_holds_the_others_back,
    hooks::post_start_runs_before_ready_and_pre_stop_before_the_signal,
    hooks::a_container_that_ends_on_its_signal_is_not_killed,
    hooks::a_stubborn_container_is_killed_after_its_grace,
    restarts::a_crashing_container_is_restarted_with_backoff,
    restarts::a_container_out_of_memory_says_so,
    restarts::a_pod_that_never_restarts_reaches_its_phase,
    restarts::an_image_that_is_not_there_is_named_in_the_status,
    volumes::an_empty_dir_is_shared_and_one_in_memory_has_its_size,
    volumes::host_paths_are_seen_and_read_only_ones_cannot_be_written,
    volumes::the_downward_api_fills_environment_and_files,
    namespaces::containers_that_share_a_pid_namespace_see_each_other,
    namespaces::a_pod_on_the_host_network_has_the_hosts,
    namespaces::a_user_namespace_maps_root_to_nobody_of_the_host,
    namespaces::a_host_port_leads_to_the_pod,
    logs::a_long_log_is_rotated_without_a_gap,
];

const LOUD: &[Loud] = loud![
    outages::a_restarted_kubelet_leaves_its_containers_alone,
    outages::crisp_killed_under_a_kubelet_loses_no_container,
    outages::an_exit_during_crisps_outage_is_acted_on_after_it,
    outages::kubelet_and_crisp_killed_together_find_their_pods,
    outages::an_evented_kubelet_hears_of_an_exit_at_once,
];

/// Runs the cases; true if all passed.
pub async fn run(plan: &Plan) -> Result<bool> {
    let mut tally = Tally::default();
    let dir = plan.dir.join("k");
    let mut node = Node::prepare(&plan.parts, &dir).await?;
    // On its ground there is no systemd, whatever the host has.
    let level = "log_level = \"debug\"";
    node.reword(level, &format!("{level}\ncgroup_manager = \"cgroupfs\""))?;
    node.start().await?;
    let mut site = match Site::open(plan, node).await {
        Ok(site) => site,
        Err((error, mut node)) => {
            node.end().await?;
            return Err(error);
        }
    };
    site = quiet_cases(plan, site, &mut tally).await?;
    for case in LOUD {
        if !tally.wants(plan, case.name) {
            continue;
        }
        let began = Instant::now();
        let result = within_patience((case.check)(&mut site)).await;
        let result = result.and(site.settle().await);
        tally.add(case.name, began, result);
    }
    let began = Instant::now();
    let said = last_lines(&site.node.log(), 25);
    let ended = close(site).await;
    if ended.is_err() {
        println!("crisp's last words:\n{said}");
    }
    tally.add("nothing_is_left_when_the_pods_are_gone", began, ended);
    tally.report()
}

async fn quiet_cases(plan: &Plan, site: Site, tally: &mut Tally) -> Result<Site> {
    let site = Arc::new(site);
    let turns = Arc::new(Semaphore::new(ABREAST));
    let mut running = JoinSet::new();
    for case in QUIET {
        if !tally.wants(plan, case.name) {
            continue;
        }
        let (site, turns) = (Arc::clone(&site), Arc::clone(&turns));
        running.spawn(async move {
            let turn = turns.acquire_owned().await;
            let began = Instant::now();
            let result = within_patience((case.check)(site)).await;
            drop(turn);
            (case.name, began, result)
        });
    }
    while let Some(done) = running.join_next().await {
        let (name, began, result) = done?;
        tally.add(name, began, result);
    }
    Arc::into_inner(site).ok_or_else(|| anyhow!("a case still holds the node"))
}

async fn within_patience(case: Running<'_>) -> Result<()> {
    let done = timeout(PATIENCE, case).await;
    done.unwrap_or_else(|_| Err(anyhow!("not done after {PATIENCE:?}")))
}

/// Takes the manifests away, waits for the kubelet to end all pods, ends the kubelet, and looks
/// for what is left.
async fn close(mut site: Site) -> Result<()> {
    let emptied = site.settle().await;
    site.kubelet.end().await?;
    site.remove_rest().await?;
    let left = traces::none_left(&site.node).await;
    site.node.end().await?;
    emptied.and(left)
}

#[derive(Default)]
struct Tally {
    passed: usize,
    skipped: usize,
    failures: Vec<&'static str>,
}

impl Tally {
    fn wants(&mut self, plan: &Plan, name: &str) -> bool {
        let wanted = name.contains(&plan.only);
        self.skipped += usize::from(!wanted);
        wanted
    }

    fn add(&mut self, name: &'static str, began: Instant, result: Result<()>) {
        let took = began.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                self.passed += 1;
                println!("ok      {name} ({took:.1} s)");
            }
            Err(error) => {
                self.failures.push(name);
                println!("FAILED  {name} ({took:.1} s)\n  {error:#}");
            }
        }
    }

    fn report(&self) -> Result<bool> {
        let (passed, failed) = (self.passed, self.failures.len());
        ensure!(passed + failed > 0, "no case's name holds the text");
        if failed > 0 {
            println!("\nfailed: {}", self.failures.join(", "));
        }
        println!("\n{passed} passed, {failed} failed, {} skipped", self.skipped);
        Ok(failed == 0)
    }
}
