// SPDX-License-Identifier: Apache-2.0
//! AppArmor profiles: chosen in either spelling, enforced, refused when not loaded.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use crisp_cri::*;
use security_profile::ProfileType;

use crate::case::{Outcome, cases, skip};
use crate::container::Container;
use crate::edit::{EditContainer as _, EditPod as _};
use crate::fixture::Test;
use crate::want::{contains, equal, refused, so};

cases! { "apparmor";
    "a profile that is not loaded is refused and named" => unloaded,
    "a profile of the old field that is not loaded is refused and named" => unloaded_old,
    "a profile keeps a container from writing" => enforced,
    "a profile of the old field keeps a container from writing" => enforced_old,
    "a permissive profile lets a container write" => permissive,
    "a permissive profile of the old field lets a container write" => permissive_old,
    "the new field wins over the old one" => new_wins,
    "the new field wins also when its profile is not loaded" => new_wins_unloaded,
    "no profile means the runtime's default" => default,
    "the runtime's default is the same in both fields" => default_named,
    "unconfined is unconfined in both fields" => unconfined,
    "a privileged container is not confined" => privileged,
    "an exec is confined as its container" => exec,
    "the default keeps root from the kernel's switches" => default_enforced,
    "the default lets processes of a container signal each other and end" => default_signals,
}

/// No writes outside of /dev and /proc; everything else.
const DENY_WRITES: &str = "crisp-conformance-deny-writes";
/// Complains, and lets everything happen.
const PERMISSIVE: &str = "crisp-conformance-permissive";
/// Nothing has this name.
const MISSING: &str = "crisp-conformance-not-loaded";

/// Skips where AppArmor is off; loads the suite's own profiles, which stay: they are few, and a
/// container of another case may run under one.
fn ready() -> Outcome {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if !enabled.is_ok_and(|text| text.starts_with('Y')) {
        return skip("the host has no AppArmor");
    }
    let text = format!(
        "profile {DENY_WRITES} flags=(attach_disconnected) {{\n\
           file, network, capability, signal, ptrace,\n deny /[^dp]** w,\n}}\n\
         profile {PERMISSIVE} flags=(attach_disconnected,complain) {{\n file,\n}}\n"
    );
    let mut parser = Command::new("apparmor_parser")
        .args(["--replace", "--skip-cache", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot run apparmor_parser")?;
    parser.stdin.take().context("stdin")?.write_all(text.as_bytes())?;
    let status = parser.wait()?;
    ensure!(status.success(), "apparmor_parser: {status}");
    Ok(())
}

fn profile(kind: ProfileType, name: &str) -> Option<SecurityProfile> {
    Some(SecurityProfile { profile_type: kind.into(), localhost_ref: name.to_owned() })
}

fn localhost(name: &str) -> Option<SecurityProfile> {
    profile(ProfileType::Localhost, name)
}

/// The old field.
#[expect(deprecated, reason = "clients of before 1.30 send it, and runtimes have to read it")]
fn set_old(security: &mut LinuxContainerSecurityContext, text: &str) {
    security.apparmor_profile = text.to_owned();
}

async fn start(
    t: &Test,
    edit: impl FnOnce(&mut LinuxContainerSecurityContext),
) -> Result<Container> {
    Ok(t.pod().await?.start(|c| edit(c.security())).await?)
}

/// Must be refused, and the refusal must name [`MISSING`].
async fn is_refused(t: &Test, edit: impl FnOnce(&mut LinuxContainerSecurityContext)) -> Outcome {
    let created = t.pod().await?.create(|c| edit(c.security())).await;
    let error = refused("CreateContainer", created.map(drop))?;
    contains("the error", error.status.message(), MISSING)
}

async fn cannot_write(container: &Container) -> Outcome {
    let ran = container.exec(&["touch", "/tmp/file"]).await?;
    so("touch fails", ran.code != 0, &ran)?;
    contains("stderr of touch", &ran.stderr, "Permission denied")
}

/// What confines the first process, as the kernel tells it: `name (mode)` or `unconfined`.
async fn label(container: &Container) -> Result<String> {
    container.sh("cat /proc/1/attr/current").await
}

async fn unloaded(t: Test) -> Outcome {
    ready()?;
    is_refused(&t, |s| s.apparmor = localhost(MISSING)).await
}

async fn unloaded_old(t: Test) -> Outcome {
    ready()?;
    is_refused(&t, |s| set_old(s, &format!("localhost/{MISSING}"))).await
}

async fn enforced(t: Test) -> Outcome {
    ready()?;
    cannot_write(&start(&t, |s| s.apparmor = localhost(DENY_WRITES)).await?).await
}

async fn enforced_old(t: Test) -> Outcome {
    ready()?;
    cannot_write(&start(&t, |s| set_old(s, &format!("localhost/{DENY_WRITES}"))).await?).await
}

async fn permissive(t: Test) -> Outcome {
    ready()?;
    let container = start(&t, |s| s.apparmor = localhost(PERMISSIVE)).await?;
    container.sh("touch /tmp/file").await.map(drop)
}

async fn permissive_old(t: Test) -> Outcome {
    ready()?;
    let container = start(&t, |s| set_old(s, &format!("localhost/{PERMISSIVE}"))).await?;
    container.sh("touch /tmp/file").await.map(drop)
}

async fn new_wins(t: Test) -> Outcome {
    ready()?;
    let edit = |s: &mut LinuxContainerSecurityContext| {
        s.apparmor = localhost(DENY_WRITES);
        set_old(s, &format!("localhost/{MISSING}"));
    };
    cannot_write(&start(&t, edit).await?).await
}

async fn new_wins_unloaded(t: Test) -> Outcome {
    ready()?;
    let edit = |s: &mut LinuxContainerSecurityContext| {
        s.apparmor = localhost(MISSING);
        set_old(s, &format!("localhost/{PERMISSIVE}"));
    };
    is_refused(&t, edit).await
}

async fn default(t: Test) -> Outcome {
    ready()?;
    let came = label(&start(&t, |_| ()).await?).await?;
    so("a profile is enforced", came.ends_with(" (enforce)"), &came)
}

async fn default_named(t: Test) -> Outcome {
    ready()?;
    let none = label(&start(&t, |_| ()).await?).await?;
    let runtimes = profile(ProfileType::RuntimeDefault, "");
    let new = label(&start(&t, |s| s.apparmor = runtimes).await?).await?;
    let old = label(&start(&t, |s| set_old(s, "runtime/default")).await?).await?;
    equal("the label by the new field", new, none.clone())?;
    equal("the label by the old field", old, none)
}

async fn unconfined(t: Test) -> Outcome {
    ready()?;
    let new = start(&t, |s| s.apparmor = profile(ProfileType::Unconfined, "")).await?;
    equal("the label by the new field", label(&new).await?, "unconfined")?;
    let old = start(&t, |s| set_old(s, "unconfined")).await?;
    equal("the label by the old field", label(&old).await?, "unconfined")
}

async fn privileged(t: Test) -> Outcome {
    ready()?;
    let pod = t.pod_with(|p| p.security().privileged = true).await?;
    let container = pod.start(|c| c.security().privileged = true).await?;
    equal("the label", label(&container).await?, "unconfined")
}

async fn exec(t: Test) -> Outcome {
    ready()?;
    let container = start(&t, |s| s.apparmor = localhost(DENY_WRITES)).await?;
    let own = container.sh("cat /proc/self/attr/current").await?;
    equal("the label of an exec", own, format!("{DENY_WRITES} (enforce)"))
}

/// With everything else out of the way: root, all capabilities, /proc and /sys as on the host.
async fn default_enforced(t: Test) -> Outcome {
    ready()?;
    let edit = |s: &mut LinuxContainerSecurityContext| {
        s.capabilities =
            Some(Capability { add_capabilities: vec!["ALL".to_owned()], ..Default::default() });
        s.masked_paths = Vec::new();
        s.readonly_paths = Vec::new();
    };
    let container = start(&t, edit).await?;
    for path in ["/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/vm/swappiness"]
    {
        // Opened only: what is wrong here must not bring the host down.
        let ran = container.exec(&["sh", "-c", &format!(": >>{path}")]).await?;
        so(&format!("opening {path} to write fails"), ran.code != 0, &ran)?;
        contains("stderr of the shell", &ran.stderr, "ermission denied")?;
    }
    let ran = container.exec(&["mount", "-t", "tmpfs", "none", "/tmp"]).await?;
    so("mount fails", ran.code != 0, &ran)
}

async fn default_signals(t: Test) -> Outcome {
    ready()?;
    let script = "trap 'exit 3' TERM; sleep 600 & kill -9 $!; wait $!; echo up; \
                  while :; do sleep 0.1; done";
    let container = t.pod().await?.start(|c| c.script(script)).await?;
    container.logged("up").await?;
    container.stop(10).await?;
    equal("ContainerStatus.exit_code", container.status().await?.exit_code, 3)
}
