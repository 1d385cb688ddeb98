// SPDX-License-Identifier: Apache-2.0
//! The expectation file of an endpoint: what it is known not to pass, by name and with a reason.
//!
//! ```toml
//! [fails]        # runs, and must fail
//! "group/what it asserts" = "why it fails there"
//! [may-fail]     # runs, and passes or fails by timing
//! "group/what it asserts" = "what races with what"
//! [skip]         # is not run
//! "group/what it asserts" = "why it makes no sense there"
//! [may-skip]     # runs, and may say that this host cannot judge it
//! "group/what it asserts" = "what the host may lack"
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::case::Case;
use crate::report::Verdict;

/// What an endpoint is known not to pass.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Expectations {
    #[serde(default)]
    fails: BTreeMap<String, String>,
    #[serde(default)]
    may_fail: BTreeMap<String, String>,
    #[serde(default)]
    skip: BTreeMap<String, String>,
    #[serde(default)]
    may_skip: BTreeMap<String, String>,
}

impl Expectations {
    /// Reads a file and checks it against the cases that exist.
    ///
    /// # Errors
    /// Names what is unknown, listed twice or without a reason.
    pub fn read(path: &Path, cases: &[Case]) -> Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        Self::parse(&text, cases).with_context(|| format!("in {shown}"))
    }

    fn parse(text: &str, cases: &[Case]) -> Result<Self> {
        let list: Self = toml::from_str(text)?;
        let known: BTreeSet<&str> = cases.iter().map(|c| c.name).collect();
        let mut seen = BTreeSet::new();
        let all = [&list.fails, &list.may_fail, &list.skip, &list.may_skip];
        for (name, reason) in all.into_iter().flatten() {
            ensure!(known.contains(name.as_str()), "no case is called {name:?}");
            ensure!(seen.insert(name), "{name:?} is listed twice");
            ensure!(!reason.trim().is_empty(), "{name:?} is listed without a reason");
        }
        Ok(list)
    }

    /// Why a case must not be run.
    pub fn skips(&self, name: &str) -> Option<&str> {
        self.skip.get(name).map(String::as_str)
    }

    /// The verdict in the light of the list.
    pub fn weigh(&self, name: &str, verdict: Verdict) -> Verdict {
        let listed = self.fails.get(name);
        match (listed.or_else(|| self.may_fail.get(name)), verdict) {
            (Some(reason), Verdict::Failed(_)) => Verdict::FailedAsListed(reason.clone()),
            (Some(reason), Verdict::Passed) if listed.is_some() => Verdict::Failed(vec![format!(
                "passes, but is listed as failing ({reason}): take it off the list"
            )]),
            (None, Verdict::Skipped(why)) if !self.may_skip.contains_key(name) => {
                Verdict::Failed(vec![format!("skipped itself and is not listed so: {why}")])
            }
            (_, verdict) => verdict,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASES: &[Case] = &[
        Case::new("g", "g/a", |_| Box::pin(async { Ok(()) })),
        Case::new("g", "g/b", |_| Box::pin(async { Ok(()) })),
    ];

    #[test]
    fn lists_that_lie_are_refused() {
        for (text, why) in [
            ("[fails]\n'g/c' = 'x'", "no case"),
            ("[fails]\n'g/a' = 'x'\n[skip]\n'g/a' = 'x'", "twice"),
            ("[skip]\n'g/a' = ' '", "reason"),
            ("[fail]\n'g/a' = 'x'", "unknown field"),
        ] {
            let error = format!("{:#}", Expectations::parse(text, CASES).unwrap_err());
            assert!(error.contains(why), "{error} should name {why}");
        }
    }

    #[test]
    fn only_listed_failures_and_skips_are_forgiven() {
        let text = "[fails]\n'g/a' = 'x'";
        let list = Expectations::parse(text, CASES).unwrap();
        let failed = || Verdict::Failed(vec![String::new()]);
        assert!(matches!(list.weigh("g/a", failed()), Verdict::FailedAsListed(_)));
        assert!(matches!(list.weigh("g/a", Verdict::Passed), Verdict::Failed(_)));
        assert!(matches!(list.weigh("g/b", failed()), Verdict::Failed(_)));
        assert!(matches!(list.weigh("g/b", Verdict::Skipped("y".into())), Verdict::Failed(_)));
        let list = Expectations::parse("[may-skip]\n'g/b' = 'x'", CASES).unwrap();
        assert!(matches!(list.weigh("g/b", Verdict::Skipped("y".into())), Verdict::Skipped(_)));
        assert!(matches!(list.weigh("g/b", Verdict::Passed), Verdict::Passed));
        let list = Expectations::parse("[may-fail]\n'g/b' = 'x'", CASES).unwrap();
        assert!(matches!(list.weigh("g/b", Verdict::Passed), Verdict::Passed));
        assert!(matches!(list.weigh("g/b", failed()), Verdict::FailedAsListed(_)));
    }
}
