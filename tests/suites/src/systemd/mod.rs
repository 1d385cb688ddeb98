// SPDX-License-Identifier: Apache-2.0
//! crisp as a service of systemd, on the node it is installed on: `tests/guest` runs this in its
//! guest. It restarts, stops and hangs the daemon of the host: nothing for a host in use.

mod clients;
mod limits;
mod survival;
mod unit;

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use crisp_conformance::{Options, container::Container, fixture::Test, suite};
use crisp_cri::ContainerStatusRequest;
use tokio::time::timeout;

/// Longest time for one case, on an emulated machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// Which daemon to judge.
#[derive(Debug, Clone, clap::Args)]
pub struct Plan {
    /// Address of the daemon that systemd runs as `crisp.service`.
    #[arg(long, value_name = "unix://PATH")]
    pub endpoint: String,
    /// Only cases whose name holds this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub only: String,
}

/// What a case has in its hands.
struct Hands {
    test: Test,
    endpoint: String,
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;
type Check = for<'a> fn(&'a Hands) -> Running<'a>;

macro_rules! cases {
    ($($module:ident::$name:ident),* $(,)?) => {
        &[$((stringify!($name), |hands| Box::pin($module::$name(hands)))),*]
    };
}

const CASES: &[(&str, Check)] = cases![
    survival::pods_and_sessions_survive_a_restart_of_the_unit,
    survival::pods_survive_a_stop_and_a_start,
    clients::clients_wait_while_the_daemon_restarts,
    clients::a_stopped_daemon_refuses_its_clients,
    limits::limits_are_systemds_and_outlive_its_reload,
    limits::containers_do_not_see_the_units_sockets,
    unit::the_unit_holds_the_daemon_alone,
    unit::a_daemon_that_hangs_is_started_again,
];

/// Runs the cases one after the other; true if all passed.
///
/// # Errors
/// When no case has the name that was asked for.
pub async fn run(plan: &Plan) -> Result<bool> {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (name, check) in CASES {
        if !name.contains(&plan.only) {
            skipped += 1;
            continue;
        }
        let began = Instant::now();
        let result = run_case(plan, *check).await;
        let took = began.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                passed += 1;
                println!("ok      {name} ({took:.1} s)");
            }
            Err(error) => {
                failed += 1;
                println!("FAILED  {name} ({took:.1} s)\n  {error:#}");
            }
        }
    }
    ensure!(passed + failed > 0, "no case's name holds {:?}", plan.only);
    println!("\n{passed} passed, {failed} failed, {skipped} skipped");
    Ok(failed == 0)
}

async fn run_case(plan: &Plan, check: Check) -> Result<()> {
    unit::systemctl(&["start", "crisp"]).await?;
    let options = Options { endpoint: plan.endpoint.clone(), ..Options::default() };
    let test = Test::new(suite(&options).await?.into())?;
    let hands = Hands { test, endpoint: plan.endpoint.clone() };
    let checked = timeout(PATIENCE, check(&hands)).await;
    let checked = checked.unwrap_or_else(|_| Err(anyhow!("not done after {PATIENCE:?}")));
    unit::systemctl(&["start", "crisp"]).await?;
    let left = hands.test.clean_up().await;
    checked?;
    ensure!(left.is_empty(), "{}", left.join("; "));
    Ok(())
}

impl Hands {
    /// Pid of a running container's first process.
    async fn pid(&self, container: &Container) -> Result<u32> {
        let request = ContainerStatusRequest { container_id: container.id.clone(), verbose: true };
        let info = self.test.cri().container_status(request).await?.info;
        let info: serde_json::Value = serde_json::from_str(info.get("info").context("no info")?)?;
        let pid = info["pid"].as_u64().with_context(|| format!("no pid in {info}"))?;
        Ok(u32::try_from(pid)?)
    }
}
