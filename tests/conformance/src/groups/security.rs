// SPDX-License-Identifier: Apache-2.0
//! Users, groups, capabilities, seccomp, privileges and what of /proc and /sys is shown.

use anyhow::{Context as _, Result};
use crisp_cri::*;

use crate::case::{Outcome, cases, skip};
use crate::container::Container;
use crate::edit::{EditContainer as _, EditPod as _, strings};
use crate::fixture::{Test, image_spec};
use crate::images::{NO_NEW_PRIVS, PREDEFINED_GROUP};
use crate::want::{contains, equal, refused, so};

cases! { "security";
    "run_as_user sets the uid" => user,
    "run_as_username looks the name up in the image" => username,
    "an unknown user name is refused" => unknown_username,
    "run_as_user and run_as_username together are refused" => both_users,
    "an unknown uid runs with gid 0" => unknown_uid,
    "the primary group comes from the image's passwd" => primary_group,
    "run_as_group sets the gid" => group,
    "run_as_group without a user is refused" => group_alone,
    "the image's user is the default" => image_user,
    "supplemental groups are added" => supplemental_groups,
    "policy Merge adds the image's groups" => merge,
    "policy Strict leaves the image's groups out" => strict,
    "a root file system is writable by default" => rootfs_writable,
    "a read-only root file system refuses writes" => rootfs_readonly,
    "a privileged container may manage bridges" => privileged,
    "an unprivileged container may not manage bridges" => unprivileged,
    "a privileged container has the capabilities of the runtime, no more" => privileged_capabilities,
    "a privileged container sees the host's devices and writable sysfs" => privileged_devices,
    "default capabilities are those of a container" => default_capabilities,
    "a capability is added" => add_capability,
    "a capability is dropped" => drop_capability,
    "ALL capabilities are added" => add_all,
    "ALL capabilities are dropped" => drop_all,
    "ALL dropped and one added leaves one" => drop_all_add_one,
    "an ambient capability reaches a user" => ambient,
    "an unknown capability is refused" => unknown_capability,
    "masked paths are hidden" => masked,
    "readonly paths refuse writes" => readonly_paths,
    "an exec is masked too" => exec_masked,
    "seccomp unconfined is mode 0" => seccomp_unconfined,
    "seccomp runtime default is mode 2" => seccomp_default,
    "seccomp without a profile is mode 0" => seccomp_none,
    "a seccomp profile of the host is used" => seccomp_localhost,
    "a missing seccomp profile is refused" => seccomp_missing,
    "a malformed seccomp profile is refused" => seccomp_malformed,
    "an unconfined container with SYS_ADMIN may set its host name" => seccomp_hostname,
    "a profile keeps a container with SYS_ADMIN from setting its host name" => seccomp_blocks,
    "a privileged container ignores the profile" => seccomp_privileged,
    "an exec has the container's seccomp mode" => seccomp_exec,
    "no_new_privs keeps a setuid program from root" => no_new_privs,
    "without no_new_privs a setuid program becomes root" => new_privs,
    "status tells the user and groups of the first process" => user_in_status,
    "a privileged container in an unprivileged pod is refused" => privileged_in_unprivileged,
}

fn value(value: i64) -> Option<Int64Value> {
    Some(Int64Value { value })
}

async fn start(
    t: &Test,
    edit: impl FnOnce(&mut LinuxContainerSecurityContext),
) -> Result<Container> {
    Ok(t.pod().await?.start(|c| edit(c.security())).await?)
}

async fn user(t: Test) -> Outcome {
    let container = start(&t, |s| s.run_as_user = value(1001)).await?;
    equal("id -u", container.sh("id -u").await?, "1001")
}

async fn username(t: Test) -> Outcome {
    let container = start(&t, |s| s.run_as_username = "nobody".to_owned()).await?;
    equal("id -un", container.sh("id -un").await?, "nobody")
}

async fn unknown_username(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let edit = |c: &mut ContainerConfig| c.security().run_as_username = "no-such-user".to_owned();
    let error = refused("CreateContainer", pod.create(edit).await.map(drop))?;
    contains("the error", error.status.message(), "no-such-user")
}

async fn both_users(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let edit = |c: &mut ContainerConfig| {
        c.security().run_as_username = "nobody".to_owned();
        c.security().run_as_user = value(1001);
    };
    refused("CreateContainer", pod.create(edit).await.map(drop)).map(drop)
}

async fn unknown_uid(t: Test) -> Outcome {
    let container = start(&t, |s| s.run_as_user = value(54_321)).await?;
    equal("uid and gid", container.sh("id -u; id -g").await?, "54321\n0")
}

async fn primary_group(t: Test) -> Outcome {
    let container = start(&t, |s| s.run_as_username = "nobody".to_owned()).await?;
    let passwd = container.sh("grep ^nobody: /etc/passwd").await?;
    let wanted = passwd.split(':').nth(3).context("passwd")?.to_owned();
    equal("id -g", container.sh("id -g").await?, wanted)
}

async fn group(t: Test) -> Outcome {
    let edit = |s: &mut LinuxContainerSecurityContext| {
        s.run_as_user = value(1001);
        s.run_as_group = value(1002);
    };
    equal("uid and gid", start(&t, edit).await?.sh("id -u; id -g").await?, "1001\n1002")
}

async fn group_alone(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let edit = |c: &mut ContainerConfig| c.security().run_as_group = value(1002);
    refused("CreateContainer", pod.create(edit).await.map(drop)).map(drop)
}

async fn start_group_image(
    t: &Test,
    edit: impl FnOnce(&mut LinuxContainerSecurityContext),
) -> Result<Container> {
    let start = |c: &mut ContainerConfig| {
        c.image = Some(image_spec(PREDEFINED_GROUP));
        edit(c.security());
    };
    Ok(t.pod().await?.start(start).await?)
}

async fn image_user(t: Test) -> Outcome {
    let container = start_group_image(&t, |_| ()).await?;
    equal("uid and gid", container.sh("id -u; id -g").await?, "1000\n1000")
}

/// The sorted groups of a shell in the container.
async fn groups(container: &Container) -> Result<Vec<u32>> {
    let text = container.sh("id -G").await?;
    let mut groups: Vec<u32> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    groups.sort_unstable();
    groups.dedup();
    Ok(groups)
}

async fn supplemental_groups(t: Test) -> Outcome {
    let edit = |s: &mut LinuxContainerSecurityContext| {
        s.run_as_user = value(1001);
        s.supplemental_groups = vec![1234, 5678];
    };
    let came = groups(&start(&t, edit).await?).await?;
    so("the groups have 1234 and 5678", came.contains(&1234) && came.contains(&5678), came)
}

fn needs_policy(t: &Test) -> Outcome {
    match t.features().supplemental_groups_policy {
        true => Ok(()),
        false => skip("the runtime does not report supplemental_groups_policy"),
    }
}

async fn policy(t: &Test, policy: SupplementalGroupsPolicy, wanted: Vec<u32>) -> Outcome {
    needs_policy(t)?;
    let edit = |s: &mut LinuxContainerSecurityContext| {
        s.run_as_user = value(1000);
        s.run_as_group = value(1000);
        s.supplemental_groups = vec![60_000];
        s.supplemental_groups_policy = policy.into();
    };
    let container = start_group_image(t, edit).await?;
    equal("groups of an exec", groups(&container).await?, wanted.clone())?;
    let status = container.sh("grep ^Groups: /proc/1/status").await;
    let first = status.unwrap_or_default();
    so("groups of the first process are readable", first.starts_with("Groups:"), &first)?;
    let user = container.status().await?.user.and_then(|u| u.linux);
    let user = user.context("ContainerStatus.user.linux is unset")?;
    let mut reported = user.supplemental_groups;
    reported.sort_unstable();
    equal("uid and gid in status", (user.uid, user.gid), (1000, 1000))?;
    equal("groups in status", reported, wanted.iter().map(|g| i64::from(*g)).collect::<Vec<_>>())
}

async fn merge(t: Test) -> Outcome {
    policy(&t, SupplementalGroupsPolicy::Merge, vec![1000, 50_000, 60_000]).await
}

async fn strict(t: Test) -> Outcome {
    policy(&t, SupplementalGroupsPolicy::Strict, vec![1000, 60_000]).await
}

async fn rootfs_writable(t: Test) -> Outcome {
    start(&t, |_| ()).await?.sh("touch /test.go /tmp/test").await.map(drop)
}

async fn rootfs_readonly(t: Test) -> Outcome {
    let container = start(&t, |s| s.readonly_rootfs = true).await?;
    let ran = container.exec(&["sh", "-c", "cd / && touch test.go"]).await?;
    so("touch fails", ran.code != 0, &ran)?;
    equal("stderr of touch", ran.stderr.as_str(), "touch: test.go: Read-only file system\n")?;
    container.sh("echo x >/dev/shm/file").await.map(drop)
}

async fn start_privileged(
    t: &Test,
    edit: impl FnOnce(&mut LinuxContainerSecurityContext),
) -> Result<Container> {
    let pod = t.pod_with(|p| p.security().privileged = true).await?;
    let start = |c: &mut ContainerConfig| {
        c.security().privileged = true;
        edit(c.security());
    };
    Ok(pod.start(start).await?)
}

const BRIDGE: &[&str] = &["brctl", "addbr", "conformance"];

async fn privileged(t: Test) -> Outcome {
    let ran = start_privileged(&t, |_| ()).await?.exec(BRIDGE).await?;
    equal("exit code of brctl addbr", ran.code, 0)
}

async fn unprivileged(t: Test) -> Outcome {
    let ran = start(&t, |_| ()).await?.exec(BRIDGE).await?;
    so("brctl addbr fails", ran.code != 0, &ran)?;
    contains("stderr of brctl", &ran.stderr, "Operation not permitted")
}

/// A set of capabilities of the first process, as a number.
async fn capabilities(container: &Container, set: &str) -> Result<u64> {
    hex(&container.sh(&format!("grep ^{set}: /proc/self/status")).await?)
}

fn hex(line: &str) -> Result<u64> {
    let text = line.split_whitespace().last().unwrap_or_default();
    u64::from_str_radix(text, 16).with_context(|| format!("capabilities {line:?}"))
}

/// This process's own effective set: what the runtime, too, was started with.
fn own_capabilities() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    hex(status.lines().find(|l| l.starts_with("CapEff:")).unwrap_or_default())
}

async fn privileged_capabilities(t: Test) -> Outcome {
    let container = start_privileged(&t, |_| ()).await?;
    let own = own_capabilities()?;
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        let came = capabilities(&container, set).await?;
        equal(set, format!("{came:016x}"), format!("{own:016x}"))?;
    }
    Ok(())
}

async fn privileged_devices(t: Test) -> Outcome {
    let container = start_privileged(&t, |_| ()).await?;
    let sysfs = container.sh("grep ' /sys sysfs ' /proc/mounts").await?;
    contains("mount options of /sys", &sysfs, "rw")?;
    container.sh("test -c /dev/kmsg").await?;
    let masked = container.sh("grep -c ' /proc/kcore ' /proc/mounts || true").await?;
    equal("mounts over /proc/kcore", masked, "0")
}

const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;
const SYS_ADMIN: u64 = 1 << 21;
const KILL: u64 = 1 << 5;
const CHOWN: u64 = 1;

async fn default_capabilities(t: Test) -> Outcome {
    let came = capabilities(&start(&t, |_| ()).await?, "CapEff").await?;
    let shown = format!("{came:016x}");
    so("CHOWN and KILL are there", came & (CHOWN | KILL) == CHOWN | KILL, &shown)?;
    so("NET_ADMIN and SYS_ADMIN are not", came & (NET_ADMIN | SYS_ADMIN) == 0, &shown)
}

async fn start_with(t: &Test, add: &[&str], drop: &[&str]) -> Result<Container> {
    let edit = |s: &mut LinuxContainerSecurityContext| {
        s.capabilities = Some(Capability {
            add_capabilities: strings(add),
            drop_capabilities: strings(drop),
            ..Default::default()
        });
    };
    start(t, edit).await
}

async fn add_capability(t: Test) -> Outcome {
    let container = start_with(&t, &["NET_ADMIN"], &[]).await?;
    equal("exit code of brctl addbr", container.exec(BRIDGE).await?.code, 0)
}

async fn drop_capability(t: Test) -> Outcome {
    let container = start_with(&t, &[], &["CHOWN"]).await?;
    let ran = container.exec(&["sh", "-c", "touch /tmp/f && chown 1:1 /tmp/f"]).await?;
    so("chown fails", ran.code != 0, &ran)?;
    contains("stderr of chown", &ran.stderr, "Operation not permitted")
}

async fn add_all(t: Test) -> Outcome {
    let container = start_with(&t, &["ALL"], &[]).await?;
    equal("exit code of brctl addbr", container.exec(BRIDGE).await?.code, 0)?;
    let (came, own) = (capabilities(&container, "CapEff").await?, own_capabilities()?);
    equal("CapEff", format!("{came:016x}"), format!("{own:016x}"))
}

async fn drop_all(t: Test) -> Outcome {
    let container = start_with(&t, &[], &["ALL"]).await?;
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        equal(set, capabilities(&container, set).await?, 0)?;
    }
    let ran = container.exec(&["sh", "-c", "touch /tmp/f && chown 1:1 /tmp/f"]).await?;
    so("chown fails", ran.code != 0, ran)
}

async fn drop_all_add_one(t: Test) -> Outcome {
    let container = start_with(&t, &["NET_RAW"], &["ALL"]).await?;
    equal("CapEff", capabilities(&container, "CapEff").await?, NET_RAW)
}

async fn ambient(t: Test) -> Outcome {
    let edit = |s: &mut LinuxContainerSecurityContext| {
        s.run_as_user = value(1000);
        s.capabilities = Some(Capability {
            add_ambient_capabilities: strings(&["NET_ADMIN"]),
            ..Default::default()
        });
    };
    let container = start(&t, edit).await?;
    for set in ["CapAmb", "CapEff"] {
        let came = capabilities(&container, set).await?;
        so(&format!("{set} has NET_ADMIN"), came & NET_ADMIN != 0, format!("{came:016x}"))?;
    }
    Ok(())
}

async fn unknown_capability(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let add = |c: &mut ContainerConfig| c.capabilities().add_capabilities = strings(&["NO_SUCH"]);
    let result = async { pod.create(add).await?.start().await };
    refused("a container with the capability NO_SUCH", result.await).map(drop)
}

async fn masked(t: Test) -> Outcome {
    let edit =
        |s: &mut LinuxContainerSecurityContext| s.masked_paths = strings(&["/bin/ls", "/etc"]);
    let container = start(&t, edit).await?;
    let ran = container.exec(&["sh", "-c", "ls"]).await?;
    so("ls fails", ran.code != 0, &ran)?;
    contains("stderr of ls", &ran.stderr, "Permission denied")?;
    equal("a masked directory is empty", container.sh("echo /etc/*").await?, "/etc/*")
}

async fn readonly_paths(t: Test) -> Outcome {
    let edit = |s: &mut LinuxContainerSecurityContext| s.readonly_paths = strings(&["/tmp"]);
    let ran = start(&t, edit).await?.exec(&["touch", "/tmp/test"]).await?;
    so("touch fails", ran.code != 0, &ran)?;
    equal("stderr of touch", ran.stderr.as_str(), "touch: /tmp/test: Read-only file system\n")
}

async fn exec_masked(t: Test) -> Outcome {
    let edit = |s: &mut LinuxContainerSecurityContext| {
        s.masked_paths = strings(&["/proc/kcore", "/sys/firmware"]);
    };
    let container = start(&t, edit).await?;
    let came = container.sh("head -c 1 /proc/kcore | wc -c; ls -A /sys/firmware | wc -l").await?;
    equal("bytes of kcore and entries of firmware", came.replace(' ', ""), "0\n0")
}

async fn seccomp_mode(container: &Container) -> Result<String> {
    let line =
        container.sh("grep ^Seccomp: /proc/1/status || grep ^Seccomp: /proc/self/status").await?;
    Ok(line.split_whitespace().last().unwrap_or_default().to_owned())
}

/// The mode of the first process, which writes it to its log.
async fn first_seccomp_mode(
    t: &Test,
    profile: Option<SecurityProfile>,
) -> Result<(Container, String)> {
    let edit = |c: &mut ContainerConfig| {
        c.security().seccomp = profile;
        c.script("grep ^Seccomp: /proc/self/status; exec sleep 3600");
    };
    let container = t.pod().await?.start(edit).await?;
    container.logged("Seccomp:").await?;
    let mode = container.out()?.join(" ");
    Ok((container, mode.split_whitespace().last().unwrap_or_default().to_owned()))
}

fn profile(kind: security_profile::ProfileType, localhost_ref: &str) -> Option<SecurityProfile> {
    Some(SecurityProfile { profile_type: kind.into(), localhost_ref: localhost_ref.to_owned() })
}

use security_profile::ProfileType::{Localhost, RuntimeDefault, Unconfined};

async fn seccomp_unconfined(t: Test) -> Outcome {
    equal("Seccomp", first_seccomp_mode(&t, profile(Unconfined, "")).await?.1, "0")
}

async fn seccomp_default(t: Test) -> Outcome {
    equal("Seccomp", first_seccomp_mode(&t, profile(RuntimeDefault, "")).await?.1, "2")
}

async fn seccomp_none(t: Test) -> Outcome {
    equal("Seccomp", first_seccomp_mode(&t, None).await?.1, "0")
}

async fn seccomp_exec(t: Test) -> Outcome {
    let (container, _) = first_seccomp_mode(&t, profile(RuntimeDefault, "")).await?;
    let line = container.sh("grep ^Seccomp: /proc/self/status").await?;
    equal("Seccomp of an exec", line.split_whitespace().last(), Some("2"))?;
    equal("Seccomp of PID 1 or of an exec", seccomp_mode(&container).await?.len(), 1)
}

/// A profile that allows everything but `denied`.
fn deny(t: &Test, denied: &str) -> Result<String> {
    let json = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": [denied], "action": "SCMP_ACT_ERRNO" }],
    });
    Ok(t.make_file("profile.json", json.to_string())?.display().to_string())
}

async fn seccomp_localhost(t: Test) -> Outcome {
    let path = deny(&t, "chmod")?;
    let json = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["chmod", "fchmod", "fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO" }],
    });
    std::fs::write(&path, json.to_string())?;
    let (container, mode) = first_seccomp_mode(&t, profile(Localhost, &path)).await?;
    equal("Seccomp", mode, "2")?;
    let ran = container.exec(&["chmod", "400", "/tmp"]).await?;
    so("chmod fails", ran.code != 0, &ran)?;
    contains("stderr of chmod", &ran.stderr, "Operation not permitted")
}

async fn seccomp_refused(t: &Test, path: &str) -> Outcome {
    let pod = t.pod().await?;
    let edit = |c: &mut ContainerConfig| c.security().seccomp = profile(Localhost, path);
    refused("CreateContainer", pod.create(edit).await.map(drop)).map(drop)
}

async fn seccomp_missing(t: Test) -> Outcome {
    let path = t.dir().join("no-such-profile.json");
    seccomp_refused(&t, &path.display().to_string()).await
}

async fn seccomp_malformed(t: Test) -> Outcome {
    let path = t.make_file("profile.json", "{ \"defaultAction\": ")?;
    seccomp_refused(&t, &path.display().to_string()).await
}

async fn set_hostname(container: &Container) -> Result<crate::container::Ran> {
    Ok(container.exec(&["hostname", "new-name"]).await?)
}

async fn seccomp_hostname(t: Test) -> Outcome {
    let edit = |s: &mut LinuxContainerSecurityContext| {
        s.seccomp = profile(Unconfined, "");
        s.capabilities.get_or_insert_default().add_capabilities = strings(&["SYS_ADMIN"]);
    };
    equal("exit code of hostname", set_hostname(&start(&t, edit).await?).await?.code, 0)
}

async fn seccomp_blocks(t: Test) -> Outcome {
    let path = deny(&t, "sethostname")?;
    let edit = |s: &mut LinuxContainerSecurityContext| {
        s.seccomp = profile(Localhost, &path);
        s.capabilities.get_or_insert_default().add_capabilities = strings(&["SYS_ADMIN"]);
    };
    let ran = set_hostname(&start(&t, edit).await?).await?;
    so("hostname fails", ran.code != 0, &ran)?;
    contains("stderr of hostname", &ran.stderr, "Operation not permitted")
}

async fn seccomp_privileged(t: Test) -> Outcome {
    let path = deny(&t, "sethostname")?;
    let container = start_privileged(&t, |s| s.seccomp = profile(Localhost, &path)).await?;
    equal("exit code of hostname", set_hostname(&container).await?.code, 0)
}

async fn setuid_program(t: &Test, no_new_privs: bool) -> Result<Vec<String>> {
    let edit = |c: &mut ContainerConfig| {
        c.image = Some(image_spec(NO_NEW_PRIVS));
        c.command.clear();
        c.security().run_as_user = value(1000);
        c.security().no_new_privs = no_new_privs;
    };
    t.pod().await?.start(edit).await?.output().await
}

async fn no_new_privs(t: Test) -> Outcome {
    equal("output", setuid_program(&t, true).await?, vec!["Effective uid: 1000"])
}

async fn new_privs(t: Test) -> Outcome {
    equal("output", setuid_program(&t, false).await?, vec!["Effective uid: 0"])
}

async fn user_in_status(t: Test) -> Outcome {
    let edit = |s: &mut LinuxContainerSecurityContext| {
        s.run_as_user = value(1001);
        s.run_as_group = value(1002);
        s.supplemental_groups = vec![1003];
    };
    let user = start(&t, edit).await?.status().await?.user.and_then(|u| u.linux);
    let user = user.context("ContainerStatus.user.linux is unset")?;
    equal("uid and gid", (user.uid, user.gid), (1001, 1002))?;
    so("the groups have 1003", user.supplemental_groups.contains(&1003), user)
}

async fn privileged_in_unprivileged(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let edit = |c: &mut ContainerConfig| c.security().privileged = true;
    refused("CreateContainer", pod.create(edit).await.map(drop)).map(drop)
}
