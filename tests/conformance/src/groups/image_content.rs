// SPDX-License-Identifier: Apache-2.0
//! What is in an image: layers of every kind, formats, credentials, and hostile content. The images
//! come from a registry inside the suite.

use std::io::Result as IoResult;
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use crisp_cri::*;
use futures::future::try_join_all;
use serde_json::json;

use crate::case::{Outcome, cases};
use crate::container::Container;
use crate::edit::EditContainer as _;
use crate::fixture::{Test, image_spec};
use crate::registry::{Access, Compression, Format, Registry, Tar, file};
use crate::want::{contains, equal, refused, so};

cases! { "image-content";
    "plain, gzip and zstd layers are unpacked" => compressions,
    "Docker and OCI manifests and an index are understood" => formats,
    "whiteouts remove what lower layers have" => whiteouts,
    "an opaque directory hides its lower content" => opaque,
    "a file may become a directory and a directory a file" => changed_types,
    "hard links, symlinks, modes and owners are kept" => attributes,
    "extended attributes are kept" => xattrs,
    "file times are kept" => times,
    "a layer's path with .. does not leave the image" => dotdot,
    "a layer cannot write through a symlink of another layer" => through_symlink,
    "a damaged layer is refused and leaves no image" => damaged,
    "basic authentication by user and password" => basic,
    "basic authentication by the auth field" => basic_auth_field,
    "a bearer token is fetched with user and password" => bearer,
    "a wrong password is refused and not shown" => wrong_password,
    "a tag that moved gives the new image" => moved_tag,
    "pulls of the same image side by side give one id" => side_by_side,
    "an image of 20 layers is unpacked in order" => many_layers,
    "an image without layers has an id and a name" => no_layers,
    "a dead registry is an error that names it" => dead_registry,
    "an image for another platform alone is refused" => other_platform,
}

/// Pulls `image` and starts a container of it that sleeps.
async fn start(t: &Test, image: &str) -> anyhow::Result<Container> {
    t.pull_for_now(image).await?;
    let pod = t.pod().await?;
    let mut config = pod.container_config();
    config.image = Some(image_spec(image));
    let container = pod.create_unpulled(config).await?;
    container.start().await?;
    Ok(container)
}

fn text<'a>(path: &'a str, content: &'a str) -> impl FnOnce(&mut Tar) -> IoResult<()> + 'a {
    move |tar| file(tar, path, content.as_bytes(), 0o644)
}

async fn compressions(t: Test) -> Outcome {
    let registry = t.registry().await?;
    let image = registry
        .image("kinds:1")
        .busybox()
        .await?
        .layer(Compression::Plain, text("plain", "1"))?
        .layer(Compression::Gzip, text("gzip", "2"))?
        .layer(Compression::Zstd, text("zstd", "3"))?
        .push()?;
    let container = start(&t, &image).await?;
    equal("the three files", container.sh("cat /plain /gzip /zstd").await?, "123")
}

async fn formats(t: Test) -> Outcome {
    let registry = t.registry().await?;
    for (name, format) in
        [("docker:1", Format::Docker), ("oci:1", Format::Oci), ("index:1", Format::OciIndex)]
    {
        let image = registry
            .image(name)
            .format(format)
            .busybox()
            .await?
            .layer(Compression::Gzip, text("file", name))?
            .push()?;
        let container = start(&t, &image).await?;
        equal("the file", container.sh("cat /file").await?, name)?;
    }
    Ok(())
}

async fn whiteouts(t: Test) -> Outcome {
    let registry = t.registry().await?;
    let lower = |tar: &mut Tar| {
        file(tar, "d/gone", b"", 0o644)?;
        file(tar, "d/stays", b"", 0o644)?;
        file(tar, "tree/deep/file", b"", 0o644)
    };
    let upper = |tar: &mut Tar| {
        file(tar, "d/.wh.gone", b"", 0o644)?;
        file(tar, ".wh.tree", b"", 0o644)
    };
    let image = registry
        .image("whiteout:1")
        .busybox()
        .await?
        .layer(Compression::Gzip, lower)?
        .layer(Compression::Gzip, upper)?
        .push()?;
    let container = start(&t, &image).await?;
    equal("ls -A /d", container.sh("ls -A /d").await?, "stays")?;
    let ran = container.exec(&["ls", "/tree"]).await?;
    so("/tree is gone", ran.code != 0, ran)
}

async fn opaque(t: Test) -> Outcome {
    let registry = t.registry().await?;
    let upper = |tar: &mut Tar| {
        file(tar, "d/.wh..wh..opq", b"", 0o644)?;
        file(tar, "d/new", b"", 0o644)
    };
    let image = registry
        .image("opaque:1")
        .busybox()
        .await?
        .layer(Compression::Gzip, text("d/old", ""))?
        .layer(Compression::Gzip, upper)?
        .push()?;
    let container = start(&t, &image).await?;
    equal("ls -A /d", container.sh("ls -A /d").await?, "new")
}

async fn changed_types(t: Test) -> Outcome {
    let registry = t.registry().await?;
    let lower = |tar: &mut Tar| {
        file(tar, "a", b"file", 0o644)?;
        file(tar, "b/inner", b"", 0o644)
    };
    let upper = |tar: &mut Tar| {
        file(tar, "a/inner", b"now a directory", 0o644)?;
        file(tar, "b", b"now a file", 0o644)
    };
    let image = registry
        .image("types:1")
        .busybox()
        .await?
        .layer(Compression::Gzip, lower)?
        .layer(Compression::Gzip, upper)?
        .push()?;
    let container = start(&t, &image).await?;
    let came = container.sh("cat /a/inner; echo; cat /b").await?;
    equal("the files", came, "now a directory\nnow a file")
}

fn link(tar: &mut Tar, kind: tar::EntryType, path: &str, target: &str) -> IoResult<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_mode(0o777);
    tar.append_link(&mut header, path, target)
}

async fn attributes(t: Test) -> Outcome {
    let registry = t.registry().await?;
    let fill = |tar: &mut Tar| {
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o4751);
        header.set_uid(1234);
        header.set_gid(5678);
        tar.append_data(&mut header, "f", &b"x"[..])?;
        header.set_entry_type(tar::EntryType::Link);
        header.set_size(0);
        tar.append_link(&mut header, "hard", "f")?;
        link(tar, tar::EntryType::Symlink, "soft", "/no/where")
    };
    let image =
        registry.image("attributes:1").busybox().await?.layer(Compression::Gzip, fill)?.push()?;
    let container = start(&t, &image).await?;
    let script = "stat -c '%a %u %g %h' /f; readlink /soft; \
        test $(stat -c %i /f) = $(stat -c %i /hard) && echo same";
    equal("attributes", container.sh(script).await?, "4751 1234 5678 2\n/no/where\nsame")
}

async fn xattrs(t: Test) -> Outcome {
    // The capability lets an unprivileged user do what only the file's capability allows. Version
    // 2, effective, CAP_SETUID permitted.
    let capability: [u8; 20] = [1, 0, 0, 2, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let registry = t.registry().await?;
    let busybox = t.pod().await?.idle().await?;
    let program = busybox.exec_raw(&["cat", "/bin/busybox"], 0).await?.stdout;
    let fill = |tar: &mut Tar| {
        let records = [("SCHILY.xattr.security.capability", &capability[..])];
        tar.append_pax_extensions(records)?;
        file(tar, "bin/capable", &program, 0o755)
    };
    let image =
        registry.image("xattrs:1").busybox().await?.layer(Compression::Gzip, fill)?.push()?;
    t.pull_for_now(&image).await?;
    let pod = t.pod().await?;
    let mut config = pod.container_config();
    config.image = Some(image_spec(&image));
    config.security().run_as_user = Some(Int64Value { value: 1000 });
    // Named so that the multi-call program acts as cat.
    config.command =
        ["sh", "-c", "exec -a cat /bin/capable /proc/self/status"].map(str::to_owned).to_vec();
    let container = pod.create_unpulled(config).await?;
    container.start().await?;
    let output = container.output().await?.join("\n");
    contains("status of a program with CAP_SETUID", &output, "CapEff:\t0000000000000080")
}

async fn times(t: Test) -> Outcome {
    let registry = t.registry().await?;
    let fill = |tar: &mut Tar| {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        header.set_mtime(1_000_000_000);
        tar.append_data(&mut header, "old", &b""[..])
    };
    let image =
        registry.image("times:1").busybox().await?.layer(Compression::Gzip, fill)?.push()?;
    let container = start(&t, &image).await?;
    equal("mtime", container.sh("stat -c %Y /old").await?, "1000000000")
}

/// Adds a file whose path the tar library would refuse to write.
fn raw_path(tar: &mut Tar, path: &str) -> IoResult<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    let name = &mut header.as_old_mut().name;
    name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_cksum();
    tar.append(&header, &b"x"[..])
}

async fn dotdot(t: Test) -> Outcome {
    let target = t.make_dir("target")?;
    let climb = format!(
        "{}{}/escaped",
        // A name has at most 100 bytes.
        "../".repeat(9),
        target.display().to_string().trim_start_matches('/')
    );
    let registry = t.registry().await?;
    let image = registry
        .image("dotdot:1")
        .busybox()
        .await?
        .layer(Compression::Gzip, |tar| raw_path(tar, &climb))?
        .push()?;
    nothing_escapes(&t, &image, &target).await
}

/// Whether the image is refused or confined, the host's directory must stay empty.
async fn nothing_escapes(t: &Test, image: &str, target: &Path) -> Outcome {
    if let Ok(container) = start(t, image).await {
        container.sh("true").await?;
    }
    let left: Vec<_> = std::fs::read_dir(target)?.flatten().map(|e| e.path()).collect();
    so("nothing is written to the host", left.is_empty(), left)
}

async fn through_symlink(t: Test) -> Outcome {
    let target = t.make_dir("target")?;
    let host = target.display().to_string();
    let registry = t.registry().await?;
    let image = registry
        .image("symlink:1")
        .busybox()
        .await?
        .layer(Compression::Gzip, |tar| link(tar, tar::EntryType::Symlink, "door", &host))?
        .layer(Compression::Gzip, |tar| raw_path(tar, "door/escaped"))?
        .layer(Compression::Gzip, |tar| {
            link(tar, tar::EntryType::Symlink, "second", &host)?;
            raw_path(tar, "second/escaped")
        })?
        .push()?;
    nothing_escapes(&t, &image, &target).await
}

async fn damaged(t: Test) -> Outcome {
    let registry = t.registry().await?;
    // Content of its own: a layer that is known already would not be fetched.
    let content = t.unique("content");
    let image =
        registry.image("damaged:1").layer(Compression::Gzip, text("f", &content))?.push()?;
    registry.damage_layers();
    refused("PullImage of a damaged layer", t.pull_for_now(&image).await)?;
    equal("ImageStatus after the failed pull", t.image_status(&image).await?, None)
}

const USER: &str = "someone";
const PASSWORD: &str = "s3cret-p4ssword";

async fn guarded(t: &Test, access: fn(String) -> Access) -> anyhow::Result<(Registry, String)> {
    let registry = t.registry().await?;
    let content = t.unique("content");
    let image =
        registry.image("guarded:1").layer(Compression::Gzip, text("f", &content))?.push()?;
    registry.demand(access(format!("{USER}:{PASSWORD}")));
    Ok((registry, image))
}

fn user_and(password: &str) -> Option<AuthConfig> {
    Some(AuthConfig {
        username: USER.to_owned(),
        password: password.to_owned(),
        ..Default::default()
    })
}

async fn pulls_with(t: &Test, image: &str, auth: Option<AuthConfig>) -> Outcome {
    refused("PullImage without credentials", t.pull(image).await)?;
    t.remove_image_later(image);
    let id = t.pull_as(image, auth).await?;
    equal("ImageStatus id", t.image_status(image).await?.map(|i| i.id), Some(id))
}

async fn basic(t: Test) -> Outcome {
    let (_registry, image) = guarded(&t, Access::Basic).await?;
    pulls_with(&t, &image, user_and(PASSWORD)).await
}

async fn basic_auth_field(t: Test) -> Outcome {
    let (_registry, image) = guarded(&t, Access::Basic).await?;
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    pulls_with(&t, &image, Some(AuthConfig { auth, ..Default::default() })).await
}

async fn bearer(t: Test) -> Outcome {
    let (registry, image) = guarded(&t, Access::Bearer).await?;
    pulls_with(&t, &image, user_and(PASSWORD)).await?;
    let asked = registry.requests();
    so("the token service was asked", asked.iter().any(|r| r.contains("/token")), asked)
}

async fn wrong_password(t: Test) -> Outcome {
    let (_registry, image) = guarded(&t, Access::Basic).await?;
    let wrong = "wr0ng-p4ssword";
    let error = refused("PullImage", t.pull_as(&image, user_and(wrong)).await)?;
    let shown = error.to_string();
    so("the error does not show the password", !shown.contains(wrong), &shown)?;
    equal("ImageStatus after the failed pull", t.image_status(&image).await?, None)
}

async fn moved_tag(t: Test) -> Outcome {
    let registry = t.registry().await?;
    let push = |content: &'static str| {
        let config = json!({ "Labels": { "content": content } });
        let builder = registry.image("moving:1").config(config);
        builder.layer(Compression::Gzip, text("f", content))?.push()
    };
    let image = push("old")?;
    let old = t.pull_for_now(&image).await?;
    t.remove_image_later(&old);
    push("new")?;
    let new = t.pull_for_now(&image).await?;
    so("the id is another", old != new, &new)?;
    let by_tag = t.image_status(&image).await?.context("ImageStatus by tag is unset")?;
    equal("ImageStatus by tag", by_tag.id, new)?;
    if let Some(left) = t.image_status(&old).await? {
        equal("repo_tags of the old image", left.repo_tags, Vec::<String>::new())?;
    }
    Ok(())
}

async fn side_by_side(t: Test) -> Outcome {
    let registry = t.registry().await?;
    let content = t.unique("content");
    let image = registry.image("many:1").layer(Compression::Gzip, text("f", &content))?.push()?;
    t.remove_image_later(&image);
    let ids = try_join_all((0..8).map(|_| t.pull(&image))).await?;
    so("all ids are the same", ids.iter().all(|id| *id == ids[0]), &ids)
}

async fn many_layers(t: Test) -> Outcome {
    let registry = t.registry().await?;
    let mut builder = registry.image("layers:1").busybox().await?;
    for number in 0..20 {
        let content = number.to_string();
        builder = builder.layer(Compression::Gzip, |tar| {
            file(tar, "last", content.as_bytes(), 0o644)?;
            file(tar, &format!("all/{number:02}"), content.as_bytes(), 0o644)
        })?;
    }
    let container = start(&t, &builder.push()?).await?;
    let came = container.sh("cat /last; ls /all | wc -l").await?;
    equal("the last layer's file and the number of files", came.replace(' ', ""), "1920")
}

async fn no_layers(t: Test) -> Outcome {
    let registry = t.registry().await?;
    let image = registry.image("empty:1").push()?;
    let id = t.pull_for_now(&image).await?;
    let found = t.image_status(&image).await?.context("ImageStatus is unset")?;
    equal("ImageStatus id", found.id, id)?;
    equal("repo_tags", found.repo_tags, vec![image])
}

async fn dead_registry(t: Test) -> Outcome {
    // A port that was free a moment ago: the connection is refused.
    let address = t.registry().await?.address.clone();
    let Err(error) = t.pull(&format!("{address}/x:1")).await else {
        anyhow::bail!("PullImage from a port where nobody listens: expected an error");
    };
    // Unavailable is as good an answer as any other; the client's own deadline is none.
    so("the endpoint gave the answer", error.code() != tonic::Code::Aborted, &error)?;
    contains("the error", error.status.message(), &address)
}

async fn other_platform(t: Test) -> Outcome {
    let registry = t.registry().await?;
    let image = registry.image("other:1").foreign_index()?;
    refused("PullImage", t.pull_for_now(&image).await)?;
    equal("ImageStatus after the failed pull", t.image_status(&image).await?, None)
}
