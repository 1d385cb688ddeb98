// SPDX-License-Identifier: Apache-2.0
//! The kubelet rotates logs; crisp's shim opens them anew.

use std::{fs, path::Path};

use anyhow::Result;
use crisp_conformance::want::{so, within};
use serde_json::json;

use super::{
    manifest::{SLEEP, pod, shell},
    site::{SOON, Site, lines_of},
};

/// Numbers that count on over two files.
pub async fn a_long_log_is_rotated_without_a_gap(site: &Site) -> Result<()> {
    let script = "i=0; while [ $i -lt 6000 ]; do i=$((i+1)); echo number $i of a line with some length; \
                  [ $((i % 100)) != 0 ] || sleep 0.1; done; echo end";
    let pod = site.apply(&pod(
        "rotation",
        json!({
            "containers": [shell("main", &format!("{script}; {SLEEP}"), json!({}))],
        }),
    ))?;
    pod.ready().await?;
    let dir = pod.log_file("main", 0)?;
    let dir = dir.parent().unwrap_or(Path::new("/")).to_owned();
    within(SOON, "a rotated log and the end", || async {
        let rotated = rotated(&dir)?;
        let ended = pod.out("main").unwrap_or_default().iter().any(|line| line == "end");
        Ok(if rotated.is_empty() || !ended { Err(format!("{rotated:?}")) } else { Ok(()) })
    })
    .await?;
    // The newest rotated file is not compressed: what it ends with, the log goes on with.
    let names = rotated(&dir)?;
    let newest = names.iter().rfind(|name| !name.ends_with(".gz"));
    let mut lines = match newest {
        Some(name) => lines_of(&dir.join(name))?,
        None => Vec::new(),
    };
    lines.extend(pod.out("main")?);
    let numbers: Vec<u64> =
        lines.iter().filter_map(|l| l.split(' ').nth(1)?.parse().ok()).collect();
    let gap = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1);
    so("the numbers count on", gap.is_none() && numbers.last() == Some(&6000), gap)?;
    pod.remove().await
}

fn rotated(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("0.log.") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
