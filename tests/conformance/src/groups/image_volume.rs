// SPDX-License-Identifier: Apache-2.0
//! Images as volumes.

use anyhow::Context as _;
use crisp_cri::*;
use tonic::Code;

use crate::case::{Outcome, cases};
use crate::container::Container;
use crate::cri::CallError;
use crate::fixture::{Test, image_spec};
use crate::images::TAGGED;
use crate::want::{contains, equal, refused, so};

cases! { "image-volume";
    "an image is mounted read-only and its programs run" => mounted,
    "status tells the mounted image's digest" => digest,
    "an image volume that is not readonly is refused" => writable,
    "a sub path is mounted alone" => sub_path,
    "a missing sub path is refused" => missing_sub_path,
    "a sub path that climbs out is refused" => climbing_sub_path,
    "an absent image is refused" => absent,
    "the volume's image can be removed while it is mounted" [alone] => removed,
    "two containers mount the same image" => twice,
}

fn add_volume<'a>(c: &'a mut ContainerConfig, image: &str) -> &'a mut Mount {
    c.mounts.push(Mount {
        container_path: "/image".to_owned(),
        readonly: true,
        image: Some(image_spec(image)),
        ..Default::default()
    });
    let last = c.mounts.len() - 1;
    &mut c.mounts[last]
}

/// Starts a container with the volume as `edit` changes it.
async fn start(t: &Test, edit: impl FnOnce(&mut Mount)) -> anyhow::Result<(Container, String)> {
    let id = t.ensure_image(TAGGED).await?;
    let container = t.pod().await?.start(|c| edit(add_volume(c, &id))).await?;
    Ok((container, id))
}

async fn mounted(t: Test) -> Outcome {
    let (container, _) = start(&t, |_| ()).await?;
    contains("passwd of the image", &container.sh("cat /image/etc/passwd").await?, "root:")?;
    let ran = container.exec(&["touch", "/image/file"]).await?;
    so("touch fails", ran.code != 0, &ran)?;
    contains("stderr of touch", &ran.stderr, "Read-only file system")?;
    contains("ls of the image, run from it", &container.sh("/image/bin/ls /image").await?, "bin")
}

async fn digest(t: Test) -> Outcome {
    let (container, id) = start(&t, |_| ()).await?;
    let status = container.status().await?;
    let mount = status.mounts.iter().find(|m| m.container_path == "/image");
    let mount = mount.context("ContainerStatus.mounts does not have the volume")?;
    let image = mount.image.clone().context("ContainerStatus.mounts[].image is unset")?;
    equal("ContainerStatus.mounts[].image.image_ref", image.image_ref, id)
}

async fn refused_volume(
    t: &Test,
    edit: impl FnOnce(&mut Mount),
) -> Result<CallError, anyhow::Error> {
    let id = t.ensure_image(TAGGED).await?;
    let pod = t.pod().await?;
    let result = pod.create(|c| edit(add_volume(c, &id))).await.map(drop);
    let error = refused("CreateContainer", result)?;
    equal("containers of the pod", pod.containers().await?, vec![])?;
    Ok(error)
}

async fn writable(t: Test) -> Outcome {
    refused_volume(&t, |m| m.readonly = false).await.map(drop)
}

async fn sub_path(t: Test) -> Outcome {
    let (container, _) = start(&t, |m| m.image_sub_path = "etc".to_owned()).await?;
    contains("passwd at the root", &container.sh("cat /image/passwd").await?, "root:")?;
    let ran = container.exec(&["ls", "/image/bin"]).await?;
    so("the rest of the image is not there", ran.code != 0, ran)
}

async fn missing_sub_path(t: Test) -> Outcome {
    refused_volume(&t, |m| m.image_sub_path = "no/such/path".to_owned()).await.map(drop)
}

async fn climbing_sub_path(t: Test) -> Outcome {
    refused_volume(&t, |m| m.image_sub_path = "../../../../etc".to_owned()).await.map(drop)
}

async fn absent(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let edit = |c: &mut ContainerConfig| {
        add_volume(c, "registry.k8s.io/no/such-image:1");
    };
    let error = refused("CreateContainer", pod.create(edit).await.map(drop))?;
    so("the code says so", error.code() != Code::Unimplemented, &error)?;
    contains("the error", error.status.message(), "no/such-image")
}

async fn removed(t: Test) -> Outcome {
    let (container, id) = start(&t, |_| ()).await?;
    t.remove_image(&id).await?;
    contains("passwd of the image", &container.sh("cat /image/etc/passwd").await?, "root:")
}

async fn twice(t: Test) -> Outcome {
    let id = t.ensure_image(TAGGED).await?;
    let pod = t.pod().await?;
    let one = pod
        .start(|c| {
            add_volume(c, &id);
        })
        .await?;
    let two = pod
        .start(|c| {
            add_volume(c, &id);
        })
        .await?;
    one.remove().await?;
    contains("passwd of the image", &two.sh("cat /image/etc/passwd").await?, "root:")
}
