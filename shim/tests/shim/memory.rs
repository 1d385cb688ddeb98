// SPDX-License-Identifier: Apache-2.0
//! What an idle shim costs, measured with twenty alike. The figures are printed; the limits hold
//! only for the binary that is installed (profile `shim`), named by CRISP_SHIM.

use std::fs;

use crate::bench::{Bench, runtimes};

const PODS: usize = 20;

struct Cost {
    pss: u64,
    private_dirty: u64,
    threads: usize,
}

fn cost(pid: u32) -> Cost {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let field = |name: &str| -> u64 {
        let line = text.lines().find(|l| l.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().count();
    Cost { pss: field("Pss:"), private_dirty: field("Private_Dirty:"), threads }
}

fn switches(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let lines = text.lines().filter(|l| l.contains("ctxt_switches"));
    lines.map(|l| l.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum()
}

#[tokio::test]
async fn an_idle_shim_is_one_thread_that_sleeps() {
    let Some((kind, binary)) = runtimes().pop() else { return };
    let mut benches = Vec::new();
    for _ in 0..PODS {
        let bench = Bench::new(kind, binary.clone()).await;
        bench.run("c", &["sleep", "600"]).await;
        benches.push(bench);
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let before: Vec<u64> = benches.iter().map(|b| switches(b.shim_pid)).collect();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let after: Vec<u64> = benches.iter().map(|b| switches(b.shim_pid)).collect();
    let costs: Vec<Cost> = benches.iter().map(|b| cost(b.shim_pid)).collect();
    let mean = |of: fn(&Cost) -> u64| costs.iter().map(of).sum::<u64>() / PODS as u64;
    let (pss, dirty) = (mean(|c| c.pss), mean(|c| c.private_dirty));
    eprintln!("{PODS} idle shims with one container each: {pss} KB PSS, {dirty} KB private dirty");
    assert_eq!(before, after, "an idle shim wakes up");
    assert!(costs.iter().all(|c| c.threads == 1));
    if std::env::var_os("CRISP_SHIM").is_some() {
        assert!(pss <= 256, "{pss} KB PSS");
    }
    for bench in benches {
        bench.kill("c", "", 9).await.unwrap();
        bench.wait("c", "").await;
        bench.delete("c", "").await.unwrap();
        bench.close().await;
    }
}
