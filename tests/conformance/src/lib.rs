// SPDX-License-Identifier: Apache-2.0
//! A black-box CRI client that judges any endpoint.
//!
//! Each case states one thing a kubelet may rely on and asserts it over the socket alone, in
//! pods, names and directories of its own. `groups/` holds the cases, one file per group, each
//! with a table of names at its top. What the cases are written with is public: other suites drive
//! an endpoint by it too.

mod case;
mod cgroup;
pub mod container;
pub mod cri;
pub mod edit;
mod expect;
pub mod fixture;
mod groups;
pub mod images;
pub mod log;
pub mod pod;
mod registry;
mod report;
mod runner;
mod select;
pub mod stream;
pub mod want;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use crisp_cri::{CgroupDriver, RuntimeConfigRequest, StatusRequest, VersionRequest};
use tokio::sync::{OnceCell, watch};

pub use fixture::AuthRegistry;

/// What to run, and against what.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `unix://` address of the runtime service.
    pub endpoint: String,
    /// `unix://` address of the image service, if it is another.
    pub image_endpoint: Option<String>,
    /// The runtime handler pods ask for; empty is the default one.
    pub handler: String,
    /// Regular expressions; only cases whose name matches one of them run.
    pub focus: Vec<String>,
    /// Regular expressions; cases whose name matches one of them do not run.
    pub skip: Vec<String>,
    /// Orders the cases.
    pub seed: u64,
    /// How many cases run at once.
    pub parallel: usize,
    /// How many times its time a case is given; 0 counts as 1.
    pub patience: u32,
    /// Where to write JUnit XML.
    pub junit: Option<PathBuf>,
    /// The expectation file of this endpoint.
    pub expect: Option<PathBuf>,
    /// A registry that demands a user and a password.
    pub auth_registry: Option<AuthRegistry>,
}

/// The names of the cases that `focus` and `skip` choose, in the order of the tables.
///
/// # Errors
/// If a pattern is not a regular expression.
pub fn list(focus: &[String], skip: &[String]) -> Result<Vec<&'static str>> {
    let selection = select::Selection::new(focus, skip)?;
    Ok(groups::all().iter().map(|c| c.name).filter(|name| selection.takes(name)).collect())
}

/// Runs the chosen cases, prints what happens, and tells whether all is well.
///
/// # Errors
/// If the run cannot begin: bad patterns, a bad expectation file, an endpoint that does not
/// answer the probes.
pub async fn run(options: Options, interrupted: watch::Receiver<bool>) -> Result<bool> {
    let mut cases = groups::all();
    let expectations = match &options.expect {
        Some(path) => Some(expect::Expectations::read(path, &cases)?),
        None => None,
    };
    let selection = select::Selection::new(&options.focus, &options.skip)?;
    cases.retain(|case| selection.takes(case.name));
    ensure!(!cases.is_empty(), "no case matches");
    select::shuffle(&mut cases, options.seed);

    let suite = Arc::new(suite(&options).await?);
    let version = suite.cri.version(VersionRequest::default()).await?;
    println!("{} {} at {}", version.runtime_name, version.runtime_version, options.endpoint);
    println!("{} cases, seed {}, {} at once", cases.len(), options.seed, options.parallel.max(1));
    let runner =
        runner::Runner { suite, expectations, interrupted, patience: options.patience.max(1) };
    let report = runner.run(&cases, options.parallel).await;
    if let Some(path) = &options.junit {
        std::fs::write(path, report.junit()).with_context(|| format!("cannot write {path:?}"))?;
    }
    println!("{}", report.summary());
    Ok(report.good())
}

/// Connects, and asks what cases need to know before they run.
///
/// # Errors
/// If the endpoint does not answer.
pub async fn suite(options: &Options) -> Result<fixture::Suite> {
    let image = options.image_endpoint.as_ref().unwrap_or(&options.endpoint);
    let cri = cri::Cri::connect(&options.endpoint, image).await?;
    cri.image_fs_info(crisp_cri::ImageFsInfoRequest {}).await?;
    let status = cri.status(StatusRequest::default()).await?;
    // Clients take systemd where the endpoint does not say.
    let cgroup_driver = match cri.runtime_config(RuntimeConfigRequest {}).await {
        Ok(config) => config.linux.unwrap_or_default().cgroup_driver(),
        Err(_) => CgroupDriver::Systemd,
    };
    Ok(fixture::Suite {
        cri,
        handler: options.handler.clone(),
        auth_registry: options.auth_registry.clone(),
        cgroup_driver,
        status,
        base_layer: OnceCell::new(),
        pulling: tokio::sync::Mutex::default(),
    })
}
