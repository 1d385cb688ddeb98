// SPDX-License-Identifier: Apache-2.0
//! Images: pull, names, identity, removal.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use crisp_cri::*;
use futures::future::try_join_all;
use tonic::Code;

use super::pod::{json_info, now_ns};
use crate::case::{Outcome, cases};
use crate::fixture::{Test, image_spec};
use crate::images::{self, ALL_REFERENCES, LATEST, PAUSE, TAGGED, THREE, THREE_TAGS, USERS};
use crate::want::{contains, equal, refused, refused_with, so};

cases! { "image";
    "an image is pulled by tag and removed" [alone] => by_tag,
    "an image is pulled without a tag as latest and removed" [alone] => untagged,
    "an image is pulled by digest and removed" [alone] => by_digest,
    "a pull that is cut short can be done again" [alone] => cut_short,
    "status knows all kinds of references" [alone] => references,
    "status tells the image's uid or user name" [alone] => users,
    "three images give three entries in the list" [alone] => three,
    "three tags of one image give one entry with them" [alone] => three_tags,
    "removing by one tag removes the image with all its tags" [alone] => remove_tags,
    "removing by one registry's tag removes the other registry's too" [alone] => remove_registries,
    "a removed image is at once gone from list and status" [alone] => gone,
    "a pulled image is at once in list and status" [alone] => there,
    "removals side by side all succeed" [alone] => removals,
    "the id is the same in all calls" [alone] => one_id,
    "the id is the same for two registries" [alone] => one_id_two_registries,
    "a filter by reference lists that image alone" [alone] => filter,
    "a filter without a match gives an empty list" => filter_without_match,
    "status of an absent image succeeds with no image" => absent,
    "status by a part of the id finds the image" => short_id,
    "a container is created from every kind of reference" => create_by_reference,
    "an image in use can be removed, its container goes on" [alone] => remove_in_use,
    "sizes are above zero and lists are stable" => stable,
    "verbose status has JSON under info, plain status has none" => verbose,
    "an unknown image is NOT_FOUND" => unknown,
    "a malformed reference is refused" => malformed,
    "a pull may carry a pod's config" => with_sandbox_config,
    "a pull for an unknown runtime handler is refused" => unknown_handler,
    "the filesystem info has a mount point and counts" => fs_info,
    "the filesystem info grows with a pulled image" [alone, slow] => fs_info_grows,
    "a registry with credentials gives its image to those who have them" [alone] => auth_registry,
}

/// Pulls `image`, checks it in list and status, removes it.
async fn pull_and_remove(t: &Test, image: &str) -> Result<Image> {
    t.remove_image(image).await?;
    let id = t.pull_for_now(image).await?;
    let found = t.image_status(image).await?.context("ImageStatus of a pulled image is unset")?;
    equal("ImageStatus id", &found.id, &id)?;
    so("the size is set", found.size > 0, &found)?;
    t.remove_image(image).await?;
    equal("ImageStatus after RemoveImage", t.image_status(image).await?, None)?;
    Ok(found)
}

async fn by_tag(t: Test) -> Outcome {
    let image = pull_and_remove(&t, TAGGED).await?;
    equal("repo_tags", image.repo_tags, vec![TAGGED])
}

async fn untagged(t: Test) -> Outcome {
    let image = pull_and_remove(&t, LATEST).await?;
    equal("repo_tags", image.repo_tags, vec![format!("{LATEST}:latest")])
}

async fn by_digest(t: Test) -> Outcome {
    let image = pull_and_remove(&t, LATEST).await?;
    let digest = image.repo_digests.first().context("repo_digests is empty")?.clone();
    contains("the repo digest", &digest, &format!("{LATEST}@sha256:"))?;
    let image = pull_and_remove(&t, &digest).await?;
    equal("repo_tags after a pull by digest", image.repo_tags, Vec::<String>::new())?;
    equal("repo_digests after a pull by digest", image.repo_digests, vec![digest])
}

async fn cut_short(t: Test) -> Outcome {
    t.remove_image(TAGGED).await?;
    for millis in [1, 5, 20, 50] {
        let pull = t.pull_for_now(TAGGED);
        // Dropping the call cancels it, as a client's deadline does.
        let _ = tokio::time::timeout(Duration::from_millis(millis), pull).await;
    }
    pull_and_remove(&t, TAGGED).await.map(drop)
}

async fn references(t: Test) -> Outcome {
    t.remove_image(ALL_REFERENCES).await?;
    let id = t.pull_for_now(ALL_REFERENCES).await?;
    let image = t.image_status(&id).await?.context("ImageStatus by id is unset")?;
    let names = [image.id.clone()];
    for name in names.iter().chain(&image.repo_tags).chain(&image.repo_digests) {
        let found = t.image_status(name).await?;
        equal(&format!("ImageStatus by {name}"), found.as_ref(), Some(&image))?;
    }
    let bare = id.trim_start_matches("sha256:");
    equal("ImageStatus by the bare id", t.image_status(bare).await?, Some(image))
}

async fn users(t: Test) -> Outcome {
    for (name, uid, username) in USERS {
        t.pull_for_now(name).await?;
        let image = t.image_status(name).await?.context("ImageStatus is unset")?;
        equal(&format!("uid of {name}"), image.uid.map(|v| v.value), uid)?;
        equal(&format!("username of {name}"), image.username, username)?;
    }
    Ok(())
}

async fn three(t: Test) -> Outcome {
    let mut ids = BTreeSet::new();
    for name in THREE {
        ids.insert(t.pull_for_now(name).await?);
    }
    equal("different ids", ids.len(), 3)?;
    let images = t.images().await?;
    for name in THREE {
        let with_name = images.iter().filter(|i| i.repo_tags == [name]).count();
        equal(&format!("entries in ListImages with exactly {name}"), with_name, 1)?;
    }
    Ok(())
}

async fn three_tags(t: Test) -> Outcome {
    let mut ids = BTreeSet::new();
    for name in THREE_TAGS {
        ids.insert(t.pull_for_now(name).await?);
    }
    equal("different ids", ids.len(), 1)?;
    let images = t.images().await?;
    let mut tags: Vec<_> =
        images.iter().filter(|i| ids.contains(&i.id)).flat_map(|i| &i.repo_tags).collect();
    tags.sort_unstable();
    equal("repo_tags in ListImages", tags, THREE_TAGS.iter().collect::<Vec<_>>())
}

async fn remove_together(t: &Test, names: &[&str]) -> Outcome {
    for name in names {
        t.pull_for_now(name).await?;
    }
    t.remove_image(names[0]).await?;
    for name in names {
        equal(&format!("ImageStatus of {name}"), t.image_status(name).await?, None)?;
    }
    let images = t.images().await?;
    let left: Vec<_> = images
        .iter()
        .filter(|i| i.repo_tags.iter().any(|tag| names.contains(&tag.as_str())))
        .collect();
    so("ListImages has none of the tags", left.is_empty(), left)
}

async fn remove_tags(t: Test) -> Outcome {
    remove_together(&t, &THREE_TAGS).await
}

async fn remove_registries(t: Test) -> Outcome {
    remove_together(&t, &PAUSE).await
}

async fn gone(t: Test) -> Outcome {
    for _ in 0..5 {
        let id = t.pull_for_now(TAGGED).await?;
        t.remove_image(&id).await?;
        equal("ImageStatus right after RemoveImage", t.image_status(&id).await?, None)?;
        let listed = t.images().await?.into_iter().any(|i| i.id == id);
        so("ListImages right after RemoveImage does not have it", !listed, &id)?;
    }
    Ok(())
}

async fn there(t: Test) -> Outcome {
    for _ in 0..5 {
        t.remove_image(TAGGED).await?;
        let id = t.pull_for_now(TAGGED).await?;
        let found = t.image_status(&id).await?.map(|i| i.id);
        equal("ImageStatus right after PullImage", found.as_ref(), Some(&id))?;
        let listed = t.images().await?.into_iter().any(|i| i.id == id);
        so("ListImages right after PullImage has it", listed, &id)?;
    }
    Ok(())
}

async fn removals(t: Test) -> Outcome {
    let id = t.pull_for_now(TAGGED).await?;
    let remove = || async {
        t.remove_image(&id).await?;
        equal("ImageStatus right after RemoveImage", t.image_status(&id).await?, None)
    };
    try_join_all((0..5).map(|_| remove())).await.map(drop)
}

async fn one_id(t: Test) -> Outcome {
    let id = t.pull_for_now(TAGGED).await?;
    let listed = t.images().await?;
    let listed = listed.iter().find(|i| i.repo_tags.iter().any(|tag| tag == TAGGED));
    equal("Image.id in ListImages", listed.map(|i| &i.id), Some(&id))?;
    let edit = |c: &mut ContainerConfig| {
        c.image = Some(image_spec(&id));
        c.command.clear();
    };
    let container = t.pod().await?.start(edit).await?;
    equal("ContainerStatus.image_id", &container.status().await?.image_id, &id)?;
    let listed = container.listed().await?.context("ListContainers does not list it")?;
    equal("image_id in ListContainers", &listed.image_id, &id)
}

async fn one_id_two_registries(t: Test) -> Outcome {
    let mut ids = BTreeSet::new();
    for name in PAUSE {
        ids.insert(t.pull_for_now(name).await?);
    }
    equal("different ids", ids.len(), 1)?;
    let image = t.image_status(PAUSE[0]).await?.context("ImageStatus is unset")?;
    for name in PAUSE {
        so(&format!("repo_tags has {name}"), image.repo_tags.iter().any(|t| t == name), &image)?;
        let repository = format!("{}@", name.trim_end_matches(":3.9"));
        let known = image.repo_digests.iter().any(|d| d.starts_with(&repository));
        so(&format!("repo_digests has one of {repository}"), known, &image)?;
    }
    Ok(())
}

async fn filter(t: Test) -> Outcome {
    let id = t.pull_for_now(TAGGED).await?;
    for name in [TAGGED, id.as_str()] {
        let filter = Some(ImageFilter { image: Some(image_spec(name)) });
        let images = t.cri().list_images(ListImagesRequest { filter }).await?.images;
        let ids: Vec<_> = images.into_iter().map(|i| i.id).collect();
        equal(&format!("ListImages by {name}"), &ids, &vec![id.clone()])?;
    }
    Ok(())
}

async fn filter_without_match(t: Test) -> Outcome {
    let image = Some(image_spec("registry.k8s.io/no/such-image:1"));
    let request = ListImagesRequest { filter: Some(ImageFilter { image }) };
    equal("ListImages", t.cri().list_images(request).await?.images, vec![])
}

async fn absent(t: Test) -> Outcome {
    for name in ["registry.k8s.io/no/such-image:1", &format!("sha256:{}", "0".repeat(64))] {
        equal(&format!("ImageStatus of {name}"), t.image_status(name).await?, None)?;
    }
    Ok(())
}

async fn short_id(t: Test) -> Outcome {
    let id = t.ensure_image(images::BUSYBOX).await?;
    let bare = id.trim_start_matches("sha256:");
    let short = bare.get(..13).unwrap_or(bare);
    let found = t.image_status(short).await?.map(|i| i.id);
    equal(&format!("ImageStatus by {short}"), found, Some(id))
}

async fn create_by_reference(t: Test) -> Outcome {
    let id = t.ensure_image(images::BUSYBOX).await?;
    let image = t.image_status(&id).await?.context("ImageStatus is unset")?;
    let pod = t.pod().await?;
    let bare = id.trim_start_matches("sha256:").to_owned();
    let mut names = vec![id.clone(), bare.clone(), bare.get(..13).unwrap_or(&bare).to_owned()];
    names.extend(image.repo_tags.clone());
    names.extend(image.repo_digests.clone());
    for name in names {
        let mut config = pod.container_config();
        config.image = Some(image_spec(&name));
        let container = pod.create_unpulled(config).await?;
        let status = container.status().await?;
        equal(&format!("image_id of a container from {name}"), &status.image_id, &id)?;
    }
    Ok(())
}

async fn remove_in_use(t: Test) -> Outcome {
    let pod = t.pod().await?;
    t.pull_for_now(TAGGED).await?;
    let container = pod.start(|c| c.image = Some(image_spec(TAGGED))).await?;
    t.remove_image(TAGGED).await?;
    equal("ImageStatus after RemoveImage", t.image_status(TAGGED).await?, None)?;
    // A program that was not read before must still be there.
    equal("output of an exec", container.sh("md5sum </dev/null | cut -c 1-4").await?, "d41d")?;
    let status = container.status().await?;
    equal("ContainerStatus.state", status.state(), ContainerState::ContainerRunning)
}

async fn stable(t: Test) -> Outcome {
    t.ensure_image(images::BUSYBOX).await?;
    let image = |t: Test| async move {
        let images = t.images().await?;
        let mine = |i: &Image| i.repo_tags.iter().any(|tag| tag == images::BUSYBOX);
        images.into_iter().find(mine).context("ListImages does not have the image")
    };
    let first = image(t.clone()).await?;
    so("size above zero", first.size > 0, &first)?;
    for _ in 0..10 {
        equal("the image in ListImages", &image(t.clone()).await?, &first)?;
        let status = t.image_status(images::BUSYBOX).await?;
        equal("ImageStatus", status.as_ref().map(|i| &i.repo_digests), Some(&first.repo_digests))?;
    }
    Ok(())
}

async fn verbose(t: Test) -> Outcome {
    t.ensure_image(images::BUSYBOX).await?;
    let request =
        |verbose| ImageStatusRequest { image: Some(image_spec(images::BUSYBOX)), verbose };
    let plain = t.cri().image_status(request(false)).await?.info;
    so("plain ImageStatus has no info", plain.is_empty(), plain)?;
    json_info(&t.cri().image_status(request(true)).await?.info)
}

async fn unknown(t: Test) -> Outcome {
    for name in ["registry.k8s.io/e2e-test-images/busybox:no-such-tag", "gcr.io/no/such-image:1"] {
        let error = refused_with("PullImage", t.pull(name).await, &[Code::NotFound])?;
        contains("the error", error.status.message(), name)?;
    }
    Ok(())
}

async fn malformed(t: Test) -> Outcome {
    for name in ["", "UPPER/case:1", "a b", "registry.k8s.io/x@sha256:abc", "registry.k8s.io/x:a:b"]
    {
        refused(&format!("PullImage of {name:?}"), t.pull(name).await)?;
    }
    Ok(())
}

async fn with_sandbox_config(t: Test) -> Outcome {
    let labels = [("a".to_owned(), "b".to_owned())].into();
    let request = PullImageRequest {
        image: Some(image_spec(images::BUSYBOX)),
        auth: None,
        sandbox_config: Some(PodSandboxConfig { labels, ..Default::default() }),
    };
    let id = t.cri().pull_image(request).await?.image_ref;
    equal("image_ref", id, t.ensure_image(images::BUSYBOX).await?)
}

async fn unknown_handler(t: Test) -> Outcome {
    let image =
        ImageSpec { runtime_handler: "no-such-handler".to_owned(), ..image_spec(images::BUSYBOX) };
    let request = PullImageRequest { image: Some(image), ..Default::default() };
    refused("PullImage", t.cri().pull_image(request).await).map(drop)
}

async fn fs_info(t: Test) -> Outcome {
    t.ensure_image(images::BUSYBOX).await?;
    let info = t.cri().image_fs_info(ImageFsInfoRequest {}).await?;
    let usage = info.image_filesystems.first().context("image_filesystems is empty")?;
    let mountpoint = usage.fs_id.clone().unwrap_or_default().mountpoint;
    so("the mount point exists", std::path::Path::new(&mountpoint).is_dir(), &mountpoint)?;
    let age = now_ns() - usage.timestamp;
    so("the timestamp is not older than a minute", (0..60_000_000_000).contains(&age), age)?;
    so("inodes_used is set", usage.inodes_used.is_some(), usage)?;
    so("used_bytes is set", usage.used_bytes.is_some(), usage)
}

async fn fs_info_grows(t: Test) -> Outcome {
    let used = || async {
        let info = t.cri().image_fs_info(ImageFsInfoRequest {}).await?;
        let usage = info.image_filesystems.first().context("image_filesystems is empty")?.clone();
        Ok::<_, anyhow::Error>(usage.used_bytes.unwrap_or_default().value)
    };
    t.remove_image(THREE[0]).await?;
    let before = used().await?;
    let registry = t.registry().await?;
    let noise: Vec<u8> =
        (0u32..32 << 20).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect();
    let plain = crate::registry::Compression::Plain;
    let fill = |tar: &mut _| crate::registry::file(tar, "noise", &noise, 0o644);
    let image = registry.image("noise:1").layer(plain, fill)?.push()?;
    t.pull_for_now(&image).await?;
    // Counting may be done now and then: it is also a connection probe and must be cheap.
    crate::want::within(Duration::from_secs(60), "used_bytes grows by most of 32 MiB", || async {
        let now = used().await?;
        Ok(if now >= before + (24 << 20) { Ok(()) } else { Err(format!("{before} then {now}")) })
    })
    .await
}

async fn auth_registry(t: Test) -> Outcome {
    let Some(registry) = t.suite().auth_registry.clone() else {
        return crate::case::skip("no --auth-registry was given");
    };
    let path = TAGGED.split_once('/').map_or("", |(_, path)| path);
    let image = format!("{}/{path}", registry.host);
    refused("PullImage without credentials", t.pull(&image).await)?;
    let auth = AuthConfig {
        username: registry.user.clone(),
        password: registry.password.clone(),
        ..Default::default()
    };
    t.remove_image_later(&image);
    let id = t.pull_as(&image, Some(auth)).await?;
    equal("ImageStatus id", t.image_status(&image).await?.map(|i| i.id), Some(id))
}
