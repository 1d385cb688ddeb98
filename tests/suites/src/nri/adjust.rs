// SPDX-License-Identifier: Apache-2.0
//! What plugins change of a container being made.

use anyhow::Result;
use crisp_conformance::want::{contains, equal, refused, so};
use serde_json::{Value, json};

use super::plugin::Plugin;
use crate::stage::Stage;

/// Environment, mounts, devices, limits, hooks and the rest, as the container's own process and
/// the host see them.
pub async fn what_is_adjusted_is_seen_inside(stage: &mut Stage) -> Result<()> {
    let mounted = stage.test.make_dir("from-host")?;
    std::fs::write(mounted.join("word"), "hello")?;
    let hooked = stage.node.dir().join("hooked");
    let adjust = json!({
        "annotations": { "crisp.test/seen": "yes" },
        "env": [{ "key": "ADJUSTED", "value": "by a plugin" }],
        "mounts": [{
            "destination": "/adjusted",
            "type": "bind",
            "source": mounted,
            "options": ["rbind", "ro"],
        }],
        "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": "1001", "soft": "1000" }],
        "hooks": { "createRuntime": [{
            "path": "/bin/sh",
            "args": ["sh", "-c", format!("touch {}", hooked.display())],
        }] },
        "linux": {
            "devices": [{
                "path": "/dev/adjusted", "type": "c", "major": "1", "minor": "5",
                "fileMode": { "value": 0o666 },
            }],
            "oomScoreAdj": { "value": "777" },
            "sysctl": { "kernel.shm_rmid_forced": "1" },
            "resources": {
                "memory": { "limit": { "value": (64 << 20).to_string() } },
                "cpu": { "shares": { "value": "300" } },
            },
        },
    });
    let rules = json!({ "adjust": { "*": adjust } });
    let plugin = Plugin::connect(stage, "10", "a", &rules).await?;
    let pod = stage.test.pod().await?;
    let container = pod.idle().await?;
    let inside = [
        ("echo $ADJUSTED", "by a plugin"),
        ("cat /adjusted/word", "hello"),
        ("touch /adjusted/x 2>/dev/null || echo read-only", "read-only"),
        ("head -c 3 /dev/adjusted | tr '\\000' z", "zzz"),
        ("cat /proc/sys/kernel/shm_rmid_forced", "1"),
    ];
    for (script, expected) in inside {
        equal(script, container.sh(script).await?, expected)?;
    }
    let pid = stage.pid(&container).await?;
    let score = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj"))?;
    equal("OOM score", score.trim(), "777")?;
    // Not by an exec: runc before 1.1.13 may raise the soft limit of one to its hard limit.
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    let words: Vec<&str> = files.split_whitespace().skip(3).collect();
    equal("limits of open files", words, vec!["1000", "1001", "files"])?;
    let memory = container.cgroup("memory/memory.limit_in_bytes", "memory.max").await?;
    equal("memory limit", memory, (64 << 20).to_string())?;
    so("the hook ran", hooked.exists(), &hooked)?;
    let told = plugin.hears("PostStartContainer", &container.name()).await?;
    let note = &told.detail["annotations"]["crisp.test/seen"];
    equal("the annotation", note, &Value::from("yes"))?;
    let status = container.status().await?;
    so("the client's annotations are its own", status.annotations.is_empty(), &status.annotations)?;
    let linux = status.resources.and_then(|all| all.linux).unwrap_or_default();
    equal("limit in the status", linux.memory_limit_in_bytes, 64 << 20)
}

/// Both are named, nothing is left, and a retry works once they agree.
pub async fn two_plugins_that_disagree_fail_the_creation(stage: &mut Stage) -> Result<()> {
    let env =
        |value: &str| json!({ "adjust": { "*": { "env": [{ "key": "X", "value": value }] } } });
    let one = Plugin::connect(stage, "10", "one", &env("1")).await?;
    let two = Plugin::connect(stage, "20", "two", &env("2")).await?;
    let pod = stage.test.pod().await?;
    let config = pod.container_config();
    let error = refused("CreateContainer", pod.create_exactly(config.clone()).await)?;
    for name in ["10-one", "20-two", "\"X\""] {
        contains("the refusal", error.status.message(), name)?;
    }
    equal("containers listed", pod.containers().await?.len(), 0)?;
    // Who was told of the container is told of its end.
    one.hears("RemoveContainer", "").await?;
    two.obey(&json!({}))?;
    let container = pod.create_exactly(config).await?;
    container.start().await?;
    equal("the variable", container.sh("echo $X").await?, "1")
}

/// A validator sees who changed what, and may refuse it all.
pub async fn a_validator_has_the_last_word(stage: &mut Stage) -> Result<()> {
    let env = json!({ "adjust": { "*": { "env": [{ "key": "X", "value": "1" }] } } });
    let _changer = Plugin::connect(stage, "10", "changer", &env).await?;
    let rules = |reason: &str| json!({ "events": "ValidateContainerAdjustment", "reject": reason });
    let judge = Plugin::connect(stage, "20", "judge", &rules("not on my node")).await?;
    let pod = stage.test.pod().await?;
    let error = refused("CreateContainer", pod.create(|_| ()).await)?;
    contains("the refusal", error.status.message(), "20-judge")?;
    contains("the refusal", error.status.message(), "not on my node")?;
    let asked = judge.hears("ValidateContainerAdjustment", "").await?;
    contains("the owners", &asked.owners.to_string(), "10-changer")?;
    judge.obey(&rules(""))?;
    pod.idle().await?;
    Ok(())
}
