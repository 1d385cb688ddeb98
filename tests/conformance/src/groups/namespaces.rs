// SPDX-License-Identifier: Apache-2.0
//! Namespaces of pods and containers, user namespaces among them.

use std::path::Path;

use anyhow::{Context as _, Result};
use crisp_cri::*;

use crate::case::{Outcome, cases, skip};
use crate::container::Container;
use crate::edit::{EditContainer as _, EditPod as _};
use crate::fixture::{Test, image_spec};
use crate::images::NGINX;
use crate::pod::Pod;
use crate::want::{contains, equal, refused, so, within};

cases! { "namespaces";
    "with the host's PIDs a container sees host processes" => host_pid,
    "with the pod's PIDs containers see each other" => pod_pid,
    "with PIDs of its own a container is PID 1 and alone" => container_pid,
    "TARGET joins the PID namespace of another container" => target_pid,
    "TARGET of an unknown container is refused" => target_unknown,
    "orphans of a shared PID namespace are reaped" => reaped,
    "with the host's IPC a container sees host segments" => host_ipc,
    "with the pod's IPC a container sees no host segments" => pod_ipc,
    "containers of a pod share IPC" => shared_ipc,
    "with the host's network a container sees the host's sockets" => host_network,
    "with the pod's network a container sees no host sockets" => pod_network,
    "with the host's network a container has the host's name" => host_uts,
    "status echoes the namespace options" => echoed,
    "containers have mount namespaces of their own" => own_mounts,
    "a user namespace maps root and owns the rootfs" => user_pod,
    "mode NODE means the host's user namespace" => user_node,
    "volumes of a pod with a user namespace are idmapped" => user_volume,
    "a file made in a user namespace's rootfs is the container's root's" => user_root_owner,
    "two uid mappings are refused" => user_two_mappings,
    "an unmapped container id 0 is refused" => user_without_zero,
    "user namespace mode CONTAINER is refused" => user_container,
    "user namespace mode TARGET is refused" => user_target,
}

fn set(options: &mut NamespaceOption, edit: impl FnOnce(&mut NamespaceOption)) {
    edit(options);
}

/// Pod and container with the same change of namespace options.
async fn start(t: &Test, edit: impl Fn(&mut NamespaceOption) + Copy) -> Result<(Pod, Container)> {
    let pod = t.pod_with(|p| set(p.namespaces(), edit)).await?;
    let container = pod.start(|c| set(c.namespaces(), edit)).await?;
    Ok((pod, container))
}

async fn nginx(pod: &Pod, edit: impl FnOnce(&mut NamespaceOption)) -> Result<Container> {
    let start = |c: &mut ContainerConfig| {
        c.image = Some(image_spec(NGINX));
        c.command.clear();
        edit(c.namespaces());
    };
    let nginx = pod.start(start).await?;
    within(std::time::Duration::from_secs(10), "nginx writes its PID", || async {
        let ran = nginx.exec(&["cat", "/var/run/nginx.pid"]).await?;
        Ok(if ran.code == 0 && !ran.stdout.is_empty() { Ok(()) } else { Err(ran.stderr) })
    })
    .await?;
    Ok(nginx)
}

async fn host_pid(t: Test) -> Outcome {
    let node = |o: &mut NamespaceOption| o.pid = NamespaceMode::Node.into();
    let (pod, busybox) = start(&t, node).await?;
    let nginx = nginx(&pod, node).await?;
    let pid = nginx.sh("cat /var/run/nginx.pid").await?;
    let seen = busybox.sh("pidof nginx || pgrep nginx").await?;
    so(&format!("pidof nginx has {pid}"), seen.split_whitespace().any(|p| p == pid), &seen)?;
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).context("host's /proc")?;
    equal("the host's name of that process", comm.trim(), "nginx")
}

async fn pod_pid(t: Test) -> Outcome {
    let shared = |o: &mut NamespaceOption| o.pid = NamespaceMode::Pod.into();
    let (pod, busybox) = start(&t, shared).await?;
    let nginx = nginx(&pod, shared).await?;
    contains("processes seen by the other container", &busybox.sh("ps").await?, "nginx")?;
    let pid = nginx.sh("cat /var/run/nginx.pid").await?;
    so("nginx is not PID 1", pid != "1", pid)
}

async fn container_pid(t: Test) -> Outcome {
    let own = |o: &mut NamespaceOption| o.pid = NamespaceMode::Container.into();
    let pod = t.pod_with(|p| own(p.namespaces())).await?;
    let nginx = nginx(&pod, own).await?;
    contains("command line of PID 1", &nginx.sh("cat /proc/1/cmdline").await?, "master process")?;
    let busybox = pod.start(|c| own(c.namespaces())).await?;
    let seen = busybox.exec(&["pgrep", "nginx"]).await?;
    so("the other container does not see nginx", seen.stdout.is_empty(), seen)
}

async fn target_pid(t: Test) -> Outcome {
    let pod = t.pod_with(|p| p.namespaces().pid = NamespaceMode::Container.into()).await?;
    let target = pod
        .start(|c| {
            c.own_pids();
            c.command(&["sleep", "54321"]);
        })
        .await?;
    let edit = |c: &mut ContainerConfig| {
        c.namespaces().pid = NamespaceMode::Target.into();
        c.namespaces().target_id.clone_from(&target.id);
    };
    let container = pod.start(edit).await?;
    let first = container.sh("tr '\\000' ' ' </proc/1/cmdline").await?;
    equal("command line of PID 1", first.trim(), "sleep 54321")
}

async fn target_unknown(t: Test) -> Outcome {
    let pod = t.pod_with(|p| p.namespaces().pid = NamespaceMode::Container.into()).await?;
    let edit = |c: &mut ContainerConfig| {
        c.namespaces().pid = NamespaceMode::Target.into();
        c.namespaces().target_id = "f".repeat(64);
    };
    refused("CreateContainer", pod.create(edit).await.map(drop)).map(drop)
}

async fn reaped(t: Test) -> Outcome {
    let shared = |o: &mut NamespaceOption| o.pid = NamespaceMode::Pod.into();
    let (_pod, container) = start(&t, shared).await?;
    // Orphans: their parent, the subshell, ends first.
    container.sh("for i in 1 2 3 4 5; do (sleep 0.2 &); done; sleep 0.6").await?;
    within(std::time::Duration::from_secs(5), "no zombie is left", || async {
        let zombies = container.sh("grep -ls '^State:.Z' /proc/[0-9]*/status | wc -l").await?;
        Ok(if zombies.trim() == "0" { Ok(()) } else { Err(format!("{zombies} zombies")) })
    })
    .await
}

/// A System V segment of the host, gone when dropped.
struct Segment(i32);

impl Segment {
    fn new() -> Result<Self> {
        let output = std::process::Command::new("ipcmk").args(["-M", "1048576"]).output();
        let output = output.context("ipcmk")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let id = text.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        Ok(Self(id.parse().with_context(|| format!("ipcmk said {text:?}"))?))
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let id = self.0.to_string();
        let _ = std::process::Command::new("ipcrm").args(["-m", &id]).output();
    }
}

async fn sees_segment(t: &Test, mode: NamespaceMode) -> Result<bool> {
    let segment = Segment::new()?;
    let (_pod, container) = start(t, |o| o.ipc = mode.into()).await?;
    let seen = container.sh("cat /proc/sysvipc/shm").await?;
    Ok(seen.lines().any(|l| l.split_whitespace().nth(1) == Some(&segment.0.to_string())))
}

async fn host_ipc(t: Test) -> Outcome {
    equal("the host's segment is seen", sees_segment(&t, NamespaceMode::Node).await?, true)
}

async fn pod_ipc(t: Test) -> Outcome {
    equal("the host's segment is seen", sees_segment(&t, NamespaceMode::Pod).await?, false)
}

async fn namespace(container: &Container, kind: &str) -> Result<String> {
    container.sh(&format!("readlink /proc/self/ns/{kind}")).await
}

fn own_namespace(kind: &str) -> Result<String> {
    Ok(std::fs::read_link(format!("/proc/self/ns/{kind}"))?.display().to_string())
}

async fn shared_ipc(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let (one, two) = (pod.idle().await?, pod.idle().await?);
    for kind in ["ipc", "net", "uts"] {
        let came = namespace(&one, kind).await?;
        equal(&format!("{kind} namespace"), &came, &namespace(&two, kind).await?)?;
        so(&format!("{kind} namespace is not the host's"), came != own_namespace(kind)?, &came)?;
    }
    Ok(())
}

async fn sees_socket(t: &Test, mode: NamespaceMode) -> Result<bool> {
    let listener = std::net::TcpListener::bind("0.0.0.0:0")?;
    let port = listener.local_addr()?.port();
    let (_pod, container) = start(t, |o| o.network = mode.into()).await?;
    let seen = container.sh("netstat -ln").await?;
    Ok(seen.contains(&format!(":{port} ")))
}

async fn host_network(t: Test) -> Outcome {
    equal("the host's listener is seen", sees_socket(&t, NamespaceMode::Node).await?, true)
}

async fn pod_network(t: Test) -> Outcome {
    equal("the host's listener is seen", sees_socket(&t, NamespaceMode::Pod).await?, false)
}

async fn host_uts(t: Test) -> Outcome {
    let (_pod, container) = start(&t, |o| o.network = NamespaceMode::Node.into()).await?;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    equal("hostname", container.sh("hostname").await?, host.trim())
}

async fn echoed(t: Test) -> Outcome {
    let options = NamespaceOption {
        network: NamespaceMode::Pod.into(),
        pid: NamespaceMode::Container.into(),
        ipc: NamespaceMode::Node.into(),
        ..Default::default()
    };
    let pod = t.pod_with(|p| *p.namespaces() = options.clone()).await?;
    let linux = pod.status().await?.linux.context("PodSandboxStatus.linux is unset")?;
    let came = linux.namespaces.and_then(|n| n.options);
    equal("linux.namespaces.options", came, Some(options))
}

async fn own_mounts(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let (one, two) = (pod.idle().await?, pod.idle().await?);
    one.sh("echo mine >/file").await?;
    let ran = two.exec(&["ls", "/file"]).await?;
    so("the other container does not have the file", ran.code != 0, ran)?;
    let mounts = namespace(&one, "mnt").await?;
    so("mnt namespace is not the host's", mounts != own_namespace("mnt")?, mounts)
}

const FIRST: u32 = 131_072;

fn mapped(mode: NamespaceMode) -> UserNamespace {
    let ids = vec![IdMapping { host_id: FIRST, container_id: 0, length: 65_536 }];
    UserNamespace { mode: mode.into(), uids: ids.clone(), gids: ids }
}

fn needs_user_namespaces(t: &Test) -> Outcome {
    match t.handler_features().user_namespaces {
        true => Ok(()),
        false => skip("the handler does not report user_namespaces"),
    }
}

async fn start_in_user_namespace(
    t: &Test,
    edit: impl FnOnce(&mut ContainerConfig),
) -> Result<(Pod, Container)> {
    needs_user_namespaces(t)?;
    let users = mapped(NamespaceMode::Pod);
    let pod = t.pod_with(|p| p.namespaces().userns_options = Some(users.clone())).await?;
    let start = |c: &mut ContainerConfig| {
        c.namespaces().userns_options = Some(users);
        edit(c);
    };
    let container = pod.start(start).await?;
    Ok((pod, container))
}

async fn user_pod(t: Test) -> Outcome {
    let (_pod, container) = start_in_user_namespace(&t, |_| ()).await?;
    let map = container.sh("cat /proc/self/uid_map").await?;
    let numbers: Vec<_> = map.split_whitespace().collect();
    equal("uid_map", numbers, vec!["0", &FIRST.to_string(), "65536"])?;
    equal("owner of /bin/busybox", container.sh("stat -c %u:%g /bin/sh").await?, "0:0")
}

async fn user_node(t: Test) -> Outcome {
    needs_user_namespaces(&t)?;
    let node = UserNamespace { mode: NamespaceMode::Node.into(), ..Default::default() };
    let (_pod, container) = start(&t, |o| o.userns_options = Some(node.clone())).await?;
    equal("user namespace", namespace(&container, "user").await?, own_namespace("user")?)
}

async fn user_volume(t: Test) -> Outcome {
    let volume = t.make_dir("volume")?;
    let users = mapped(NamespaceMode::Pod);
    let (_pod, container) = start_in_user_namespace(&t, |c| {
        let mount = c.bind(&volume, "/volume");
        mount.uid_mappings.clone_from(&users.uids);
        mount.gid_mappings.clone_from(&users.gids);
    })
    .await?;
    container.sh("echo hello >/volume/file").await?;
    equal("owner on the host", owner(&volume.join("file"))?, 0)
}

fn owner(path: &Path) -> Result<u32> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(std::fs::metadata(path)?.uid())
}

async fn user_root_owner(t: Test) -> Outcome {
    let (_pod, container) = start_in_user_namespace(&t, |_| ()).await?;
    container.sh("touch /file && chown 1000:1000 /file").await?;
    equal("owner in the container", container.sh("stat -c %u:%g /file").await?, "1000:1000")
}

async fn refused_users(t: &Test, users: UserNamespace) -> Outcome {
    needs_user_namespaces(t)?;
    let mut config = t.pod_config()?;
    config.linux().cgroup_parent.clear();
    config.namespaces().userns_options = Some(users);
    refused("RunPodSandbox", t.run_pod(config).await).map(drop)
}

async fn user_two_mappings(t: Test) -> Outcome {
    let mut users = mapped(NamespaceMode::Pod);
    let second = IdMapping { host_id: 262_144, container_id: 65_536, length: 65_536 };
    users.uids.push(second);
    users.gids.push(second);
    refused_users(&t, users).await
}

async fn user_without_zero(t: Test) -> Outcome {
    let mut users = mapped(NamespaceMode::Pod);
    users.uids[0].container_id = 1;
    users.gids[0].container_id = 1;
    refused_users(&t, users).await
}

async fn user_container(t: Test) -> Outcome {
    refused_users(&t, mapped(NamespaceMode::Container)).await
}

async fn user_target(t: Test) -> Outcome {
    refused_users(&t, mapped(NamespaceMode::Target)).await
}
