// SPDX-License-Identifier: Apache-2.0
//! Runs cases: those that share the node side by side, then the others one by one.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use futures::StreamExt as _;
use tokio::sync::watch;

use crate::case::{Case, Outcome, Skip};
use crate::expect::Expectations;
use crate::fixture::{Suite, Test};
use crate::report::{Finding, Report, Verdict};

/// What all cases of a run are judged with.
pub struct Runner {
    pub suite: Arc<Suite>,
    /// Without a list every failure and every skip stands for itself.
    pub expectations: Option<Expectations>,
    /// Becomes true when the user wants the run to end.
    pub interrupted: watch::Receiver<bool>,
    /// How many times its time each case is given.
    pub patience: u32,
}

impl Runner {
    /// Runs `cases` in their order, up to `parallel` at once.
    pub async fn run(&self, cases: &[Case], parallel: usize) -> Report {
        let (alone, shared): (Vec<Case>, Vec<Case>) = cases.iter().partition(|c| c.alone);
        let mut report = Report::default();
        for (cases, parallel) in [(shared, parallel), (alone, 1)] {
            let mut running = futures::stream::iter(cases)
                .map(|case| self.judge(case))
                .buffer_unordered(parallel.max(1));
            while let Some(finding) = running.next().await {
                println!("{}", finding.line());
                report.findings.push(finding);
            }
        }
        report
    }

    async fn judge(&self, case: Case) -> Finding {
        let start = Instant::now();
        let list = self.expectations.as_ref();
        let verdict = match list.and_then(|list| list.skips(case.name)) {
            Some(why) => Verdict::Skipped(why.to_owned()),
            None if *self.interrupted.borrow() => Verdict::Failed(vec!["interrupted".to_owned()]),
            None => {
                let verdict = self.try_case(case).await;
                match list {
                    Some(list) => list.weigh(case.name, verdict),
                    None => verdict,
                }
            }
        };
        Finding { group: case.group, name: case.name, took: start.elapsed(), verdict }
    }

    async fn try_case(&self, case: Case) -> Verdict {
        let test = match Test::new(self.suite.clone()) {
            Ok(test) => test,
            Err(error) => return Verdict::Failed(vec![format!("{error:#}")]),
        };
        let mut verdict = verdict(self.drive(case, test.clone()).await);
        if let Verdict::Failed(why) = &mut verdict {
            why.extend(test.log_tails());
        }
        let left = test.clean_up().await;
        match &mut verdict {
            Verdict::Failed(why) => why.extend(left),
            _ if !left.is_empty() => verdict = Verdict::Failed(left),
            _ => (),
        }
        verdict
    }

    /// Runs the body in a task of its own, so that neither a panic nor a hang goes further.
    async fn drive(&self, case: Case, test: Test) -> Result<Outcome, String> {
        let mut body = tokio::spawn((case.body)(test));
        let mut interrupted = self.interrupted.clone();
        let limit = case.limit * self.patience;
        let end = tokio::select! {
            result = &mut body => return result.map_err(|e| format!("panicked: {e}")),
            () = tokio::time::sleep(limit) => format!("not over within {limit:?}"),
            _ = interrupted.wait_for(|yes| *yes) => "interrupted".to_owned(),
        };
        body.abort();
        // The task must be gone before its traces are removed.
        let _ = body.await;
        Err(end)
    }
}

fn verdict(result: Result<Outcome, String>) -> Verdict {
    match result {
        Ok(Ok(())) => Verdict::Passed,
        Ok(Err(error)) => match error.downcast_ref::<Skip>() {
            Some(skip) => Verdict::Skipped(skip.to_string()),
            None => Verdict::Failed(vec![format!("{error:#}")]),
        },
        Err(end) => Verdict::Failed(vec![end]),
    }
}
