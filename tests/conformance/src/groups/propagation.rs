// SPDX-License-Identifier: Apache-2.0
//! Mount propagation, and read-only mounts with mounts below them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use crisp_cri::*;
use nix::mount::{MsFlags, mount};

use crate::case::{Outcome, cases, skip};
use crate::container::Container;
use crate::edit::{EditContainer as _, EditPod as _};
use crate::fixture::Test;
use crate::want::{contains, equal, refused, so};

cases! { "mounts";
    "rprivate passes no mounts" => private,
    "rslave passes mounts from host to container" => slave,
    "rshared passes mounts both ways" => shared,
    "rshared on a host path that is not shared is refused" => shared_on_private,
    "a readonly mount leaves mounts below it writable" => readonly,
    "a recursively readonly mount has all mounts below it readonly" => recursive_readonly,
    "recursively readonly with PROPAGATION_HOST_TO_CONTAINER is refused" => recursive_slave,
    "recursively readonly with PROPAGATION_BIDIRECTIONAL is refused" => recursive_shared,
    "recursively readonly without readonly is refused" => recursive_writable,
    "recursively readonly is never degraded" => recursive_unsupported,
}

const NONE: Option<&str> = None;

/// A host directory that is a shared mount of its own.
fn shared_mount(t: &Test, name: &str) -> Result<PathBuf> {
    let path = t.make_dir(name)?;
    mount(Some(&path), &path, NONE, MsFlags::MS_BIND, NONE).context("bind mount")?;
    t.unmount_later(&path);
    let shared = MsFlags::MS_SHARED | MsFlags::MS_REC;
    mount(NONE, &path, NONE, shared, NONE).context("make shared")?;
    Ok(path)
}

fn mount_tmpfs(path: &Path) -> Result<()> {
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), NONE).context("mount tmpfs")
}

/// A privileged container that has the host directory at `/volume`.
async fn container_with(t: &Test, host: &Path, mode: MountPropagation) -> Result<Container> {
    let pod = t.pod_with(|p| p.security().privileged = true).await?;
    let edit = |c: &mut ContainerConfig| {
        c.security().privileged = true;
        c.bind(host, "/volume").propagation = mode.into();
    };
    Ok(pod.start(edit).await?)
}

/// Mounts on the host, then in the container, and tells who saw which.
async fn seen(t: &Test, mode: MountPropagation) -> Result<(&'static str, &'static str)> {
    let host = shared_mount(t, "volume")?;
    t.make_dir("volume/host")?;
    t.make_dir("volume/container")?;
    let container = container_with(t, &host, mode).await?;

    mount_tmpfs(&host.join("host"))?;
    std::fs::write(host.join("host/file"), "")?;
    let inside = container.exec(&["ls", "/volume/host/file"]).await?.code == 0;
    container.sh("mount -t tmpfs tmpfs /volume/container && touch /volume/container/file").await?;
    let outside = host.join("container/file").exists();
    let word = |seen| if seen { "seen" } else { "not seen" };
    Ok((word(inside), word(outside)))
}

async fn private(t: Test) -> Outcome {
    let seen = seen(&t, MountPropagation::PropagationPrivate).await?;
    equal("(host's mount, container's mount)", seen, ("not seen", "not seen"))
}

async fn slave(t: Test) -> Outcome {
    let seen = seen(&t, MountPropagation::PropagationHostToContainer).await?;
    equal("(host's mount, container's mount)", seen, ("seen", "not seen"))
}

async fn shared(t: Test) -> Outcome {
    let seen = seen(&t, MountPropagation::PropagationBidirectional).await?;
    equal("(host's mount, container's mount)", seen, ("seen", "seen"))
}

async fn shared_on_private(t: Test) -> Outcome {
    let path = shared_mount(&t, "volume")?;
    mount(NONE, &path, NONE, MsFlags::MS_PRIVATE, NONE).context("make private")?;
    let pod = t.pod_with(|p| p.security().privileged = true).await?;
    let edit = |c: &mut ContainerConfig| {
        c.security().privileged = true;
        c.bind(&path, "/volume").propagation = MountPropagation::PropagationBidirectional.into();
    };
    refused("CreateContainer", pod.create(edit).await.map(drop)).map(drop)
}

/// A host directory with a tmpfs below it.
fn with_submount(t: &Test) -> Result<PathBuf> {
    let path = t.make_dir("volume")?;
    let below = t.make_dir("volume/below")?;
    mount_tmpfs(&below)?;
    t.unmount_later(&below);
    Ok(path)
}

async fn readonly(t: Test) -> Outcome {
    let path = with_submount(&t)?;
    let container = t.pod().await?.start(|c| c.bind(&path, "/volume").readonly = true).await?;
    refuses_touch(&container, "/volume/file").await?;
    container.sh("touch /volume/below/file").await?;
    Ok(())
}

async fn refuses_touch(container: &Container, path: &str) -> Outcome {
    let ran = container.exec(&["touch", path]).await?;
    so(&format!("touch {path} fails"), ran.code != 0, &ran)?;
    contains("stderr of touch", &ran.stderr, "Read-only file system")
}

async fn recursive_readonly(t: Test) -> Outcome {
    if !t.handler_features().recursive_read_only_mounts {
        return skip("the handler does not report recursive_read_only_mounts");
    }
    let path = with_submount(&t)?;
    let edit = |c: &mut ContainerConfig| {
        let mount = c.bind(&path, "/volume");
        mount.readonly = true;
        mount.recursive_read_only = true;
    };
    let container = t.pod().await?.start(edit).await?;
    refuses_touch(&container, "/volume/file").await?;
    refuses_touch(&container, "/volume/below/file").await
}

async fn recursive_refused(t: &Test, edit: fn(&mut Mount)) -> Outcome {
    if !t.handler_features().recursive_read_only_mounts {
        return skip("the handler does not report recursive_read_only_mounts");
    }
    let path = shared_mount(t, "volume")?;
    let pod = t.pod_with(|p| p.security().privileged = true).await?;
    let create = pod.create(|c| {
        c.security().privileged = true;
        let mount = c.bind(&path, "/volume");
        mount.readonly = true;
        mount.recursive_read_only = true;
        edit(mount);
    });
    refused("CreateContainer", create.await.map(drop)).map(drop)
}

async fn recursive_slave(t: Test) -> Outcome {
    let mode = |m: &mut Mount| m.set_propagation(MountPropagation::PropagationHostToContainer);
    recursive_refused(&t, mode).await
}

async fn recursive_shared(t: Test) -> Outcome {
    let mode = |m: &mut Mount| m.set_propagation(MountPropagation::PropagationBidirectional);
    recursive_refused(&t, mode).await
}

async fn recursive_writable(t: Test) -> Outcome {
    recursive_refused(&t, |m| m.readonly = false).await
}

async fn recursive_unsupported(t: Test) -> Outcome {
    if t.handler_features().recursive_read_only_mounts {
        return skip("the handler reports recursive_read_only_mounts");
    }
    let path = t.make_dir("volume")?;
    let create = t.pod().await?;
    let create = create.create(|c| {
        let mount = c.bind(&path, "/volume");
        mount.readonly = true;
        mount.recursive_read_only = true;
    });
    let error = refused("CreateContainer", create.await.map(drop))?;
    contains("the error", error.status.message(), "RROUnsupported")
}
