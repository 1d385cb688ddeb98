// SPDX-License-Identifier: Apache-2.0
//! Reads the report of Kubernetes' node suite and prints it as a table.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// Which report to judge, and by what.
#[derive(Debug, Clone, clap::Args)]
pub struct Plan {
    /// What ginkgo wrote.
    #[arg(long, value_name = "FILE")]
    pub report: PathBuf,
    /// Specs that some machines cannot pass, with the reason.
    #[arg(long, value_name = "FILE")]
    pub machine: PathBuf,
}

/// One run of the suite, as ginkgo writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    spec_reports: Vec<Spec>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    #[serde(default)]
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_type: String,
    leaf_node_text: String,
    state: String,
    #[serde(default)]
    run_time: u64,
    #[serde(default)]
    failure: Option<Failure>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    #[serde(default)]
    message: String,
}

/// How a spec ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Passed,
    Failed(String),
    Skipped(String),
}

impl Spec {
    /// Its full name.
    fn name(&self) -> String {
        let mut words = self.container_hierarchy_texts.clone().unwrap_or_default();
        words.push(self.leaf_node_text.clone());
        words.join(" ")
    }

    /// The outermost words of its name, which tell the subject.
    fn group(&self) -> String {
        let first = self.container_hierarchy_texts.iter().flatten().next();
        first.cloned().unwrap_or_else(|| format!("[{}]", self.leaf_node_type))
    }

    /// How it ended; nothing if it was not chosen to run.
    fn end(&self) -> Option<End> {
        let said = self.failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default();
        match self.state.as_str() {
            // What the suite does before and after its specs counts only when it fails.
            "passed" => (self.leaf_node_type == "It").then_some(End::Passed),
            "skipped" | "pending" if said.is_empty() => None,
            "skipped" => Some(End::Skipped(said)),
            "pending" => None,
            _ => Some(End::Failed(said)),
        }
    }
}

/// Specs that some machines cannot pass: a part of the name, and the reason.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Machine {
    #[serde(default)]
    may_fail: BTreeMap<String, String>,
}

impl Machine {
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let list: Self = toml::from_str(&text).with_context(|| path.display().to_string())?;
        for (spec, reason) in &list.may_fail {
            ensure!(!reason.trim().is_empty(), "{spec:?} is listed without a reason");
        }
        Ok(list)
    }

    fn reason(&self, name: &str) -> Option<&str> {
        let found = self.may_fail.iter().find(|(part, _)| name.contains(part.as_str()));
        found.map(|(_, reason)| reason.as_str())
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    passed: usize,
    failed: usize,
    machine: usize,
    skipped: usize,
    seconds: u64,
}

/// Prints the table; true if all that failed is known to be the machine's fault.
pub fn run(plan: &Plan) -> Result<bool> {
    let text =
        fs::read_to_string(&plan.report).with_context(|| plan.report.display().to_string())?;
    let reports: Vec<Report> = serde_json::from_str(&text)?;
    let machine = Machine::read(&plan.machine)?;
    let specs = reports.iter().flat_map(|report| &report.spec_reports);
    let mut groups = BTreeMap::<String, Count>::new();
    let mut notes = Vec::new();
    for spec in specs {
        let Some(end) = spec.end() else { continue };
        let count = groups.entry(spec.group()).or_default();
        count.seconds += spec.run_time / 1_000_000_000;
        let name = spec.name();
        match (end, machine.reason(&name)) {
            (End::Passed, _) => count.passed += 1,
            (End::Skipped(said), _) => {
                count.skipped += 1;
                notes.push(format!("skipped  {name}\n         {}", first_line(&said)));
            }
            (End::Failed(_), Some(reason)) => {
                count.machine += 1;
                notes.push(format!("machine  {name}\n         {reason}"));
            }
            (End::Failed(said), None) => {
                count.failed += 1;
                notes.push(format!("FAILED   {name}\n         {}", first_line(&said)));
            }
        }
    }
    ensure!(!groups.is_empty(), "{} tells of no spec that ran", plan.report.display());
    Ok(print(&groups, &mut notes))
}

fn print(groups: &BTreeMap<String, Count>, notes: &mut [String]) -> bool {
    println!("{:<52} passed failed machine skipped seconds", "group");
    let mut all = Count::default();
    for (group, count) in groups {
        let group: String = group.chars().take(52).collect();
        let Count { passed, failed, machine, skipped, seconds } = count;
        println!("{group:<52} {passed:>6} {failed:>6} {machine:>7} {skipped:>7} {seconds:>7}");
        all.passed += passed;
        all.failed += failed;
        all.skipped += machine + skipped;
    }
    notes.sort();
    println!("\n{}", notes.join("\n"));
    println!("\n{} passed, {} failed, {} skipped", all.passed, all.failed, all.skipped);
    all.failed == 0
}

fn first_line(text: &str) -> &str {
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(state: &str, kind: &str, message: Option<&str>) -> Spec {
        Spec {
            container_hierarchy_texts: Some(vec!["[sig-node] Pods".to_owned(), "kept".to_owned()]),
            leaf_node_type: kind.to_owned(),
            leaf_node_text: "run".to_owned(),
            state: state.to_owned(),
            run_time: 1,
            failure: message.map(|text| Failure { message: text.to_owned() }),
        }
    }

    #[test]
    fn a_spec_that_was_not_chosen_counts_for_nothing() {
        assert_eq!(spec("skipped", "It", None).end(), None);
        let said = spec("skipped", "It", Some("no GPU")).end();
        assert_eq!(said, Some(End::Skipped("no GPU".to_owned())));
    }

    #[test]
    fn the_suites_own_steps_count_only_when_they_fail() {
        assert_eq!(spec("passed", "SynchronizedBeforeSuite", None).end(), None);
        let broken = spec("failed", "SynchronizedBeforeSuite", Some("no kubelet")).end();
        assert_eq!(broken, Some(End::Failed("no kubelet".to_owned())));
        assert_eq!(spec("passed", "It", None).end(), Some(End::Passed));
    }

    #[test]
    fn a_spec_that_timed_out_or_panicked_has_failed() {
        for state in ["failed", "timedout", "panicked", "interrupted", "aborted"] {
            let end = spec(state, "It", Some("why")).end();
            assert_eq!(end, Some(End::Failed("why".to_owned())), "{state}");
        }
    }

    #[test]
    fn the_reason_of_a_machine_is_found_by_a_part_of_the_name() {
        let list: Machine = toml::from_str("[may_fail]\n'Pods kept' = 'no dummy device'").unwrap();
        let name = spec("failed", "It", None).name();
        assert_eq!(name, "[sig-node] Pods kept run");
        assert_eq!(list.reason(&name), Some("no dummy device"));
        assert_eq!(list.reason("other"), None);
    }
}
