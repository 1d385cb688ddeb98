// SPDX-License-Identifier: Apache-2.0
//! What a run found, for people and as JUnit XML.

use std::fmt::Write as _;
use std::time::Duration;

/// How a case ended.
#[derive(Debug)]
pub enum Verdict {
    Passed,
    /// With what went wrong, most important first.
    Failed(Vec<String>),
    /// Failed, and the expectation file says why it must.
    FailedAsListed(String),
    Skipped(String),
}

/// One case that is over.
#[derive(Debug)]
pub struct Finding {
    pub group: &'static str,
    pub name: &'static str,
    pub took: Duration,
    pub verdict: Verdict,
}

impl Finding {
    /// One line, printed when the case ends.
    pub fn line(&self) -> String {
        let (word, why) = match &self.verdict {
            Verdict::Passed => ("ok", ""),
            Verdict::Failed(_) => ("FAILED", ""),
            Verdict::FailedAsListed(why) => ("listed", why.as_str()),
            Verdict::Skipped(why) => ("skipped", why.as_str()),
        };
        let took = self.took.as_secs_f64();
        let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
        format!("{word:7} {took:6.2}s  {}{why}", self.name)
    }
}

/// All cases of a run.
#[derive(Debug, Default)]
pub struct Report {
    pub findings: Vec<Finding>,
}

impl Report {
    /// Nothing failed.
    pub fn good(&self) -> bool {
        self.failures().next().is_none()
    }

    fn failures(&self) -> impl Iterator<Item = (&Finding, &Vec<String>)> {
        self.findings.iter().filter_map(|f| match &f.verdict {
            Verdict::Failed(why) => Some((f, why)),
            _ => None,
        })
    }

    /// The summary; its last line is `N passed, N failed, N skipped`.
    pub fn summary(&self) -> String {
        let mut text = String::from("\n");
        for (finding, why) in self.failures() {
            let _ = writeln!(text, "FAILED {}\n  {}\n", finding.name, why.join("\n  "));
        }
        let count = |wanted: fn(&Verdict) -> bool| {
            self.findings.iter().filter(|f| wanted(&f.verdict)).count()
        };
        let passed = count(|v| matches!(v, Verdict::Passed));
        let failed = count(|v| matches!(v, Verdict::Failed(_)));
        let listed = count(|v| matches!(v, Verdict::FailedAsListed(_)));
        let skipped = count(|v| matches!(v, Verdict::Skipped(_)));
        if listed > 0 {
            let _ = writeln!(text, "of the skipped, {listed} ran and failed as listed");
        }
        let _ = write!(text, "{passed} passed, {failed} failed, {} skipped", skipped + listed);
        text
    }

    /// The run as JUnit XML: one suite per group.
    pub fn junit(&self) -> String {
        let mut groups: Vec<&str> = self.findings.iter().map(|f| f.group).collect();
        groups.sort_unstable();
        groups.dedup();
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
        for group in groups {
            let findings: Vec<_> = self.findings.iter().filter(|f| f.group == group).collect();
            let _ = writeln!(
                xml,
                "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\">",
                escaped(group),
                findings.len(),
                findings.iter().filter(|f| matches!(f.verdict, Verdict::Failed(_))).count(),
                findings.iter().filter(|f| is_skip(&f.verdict)).count(),
            );
            findings.iter().for_each(|f| xml.push_str(&test_case(f)));
            xml.push_str("  </testsuite>\n");
        }
        xml.push_str("</testsuites>\n");
        xml
    }
}

fn is_skip(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Skipped(_) | Verdict::FailedAsListed(_))
}

fn test_case(finding: &Finding) -> String {
    let head = format!(
        "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
        escaped(finding.group),
        escaped(finding.name),
        finding.took.as_secs_f64()
    );
    match &finding.verdict {
        Verdict::Passed => format!("{head}/>\n"),
        Verdict::Failed(why) => format!(
            "{head}><failure message=\"{}\">{}</failure></testcase>\n",
            escaped(why.first().map(String::as_str).unwrap_or_default()),
            escaped(&why.join("\n"))
        ),
        Verdict::FailedAsListed(why) => {
            let why = escaped(&format!("fails as listed: {why}"));
            format!("{head}><skipped message=\"{why}\"/></testcase>\n")
        }
        Verdict::Skipped(why) => {
            format!("{head}><skipped message=\"{}\"/></testcase>\n", escaped(why))
        }
    }
}

fn escaped(text: &str) -> String {
    let mut xml = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '&' => xml.push_str("&amp;"),
            '"' => xml.push_str("&quot;"),
            '\n' => xml.push_str("&#10;"),
            '\t' => xml.push(c),
            // XML 1.0 has no way to write other control characters.
            c if c.is_control() => xml.push('\u{fffd}'),
            c => xml.push(c),
        }
    }
    xml
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let finding = |name, verdict| Finding {
            group: "g",
            name,
            took: Duration::from_millis(1500),
            verdict,
        };
        Report {
            findings: vec![
                finding("g/a", Verdict::Passed),
                finding("g/b", Verdict::Failed(vec!["1 < 2 & \"so\"\u{1b}".into()])),
                finding("g/c", Verdict::Skipped("no".into())),
                finding("g/d", Verdict::FailedAsListed("peer".into())),
            ],
        }
    }

    #[test]
    fn the_last_line_counts() {
        let summary = report().summary();
        assert_eq!(summary.lines().last(), Some("1 passed, 1 failed, 2 skipped"));
        assert!(!report().good());
    }

    #[test]
    fn junit_is_escaped() {
        let xml = report().junit();
        assert!(xml.contains("1 &lt; 2 &amp; &quot;so&quot;\u{fffd}"), "{xml}");
        assert!(xml.contains("tests=\"4\" failures=\"1\" skipped=\"2\""), "{xml}");
    }
}
