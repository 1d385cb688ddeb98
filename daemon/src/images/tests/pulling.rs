// SPDX-License-Identifier: Apache-2.0

use std::os::unix::fs::MetadataExt;

use serde_json::json;

use super::{
    serve::{PASSWORD, USER, free_host},
    *,
};

#[tokio::test]
async fn an_image_of_all_compressions_is_pulled_by_tag_and_by_digest() {
    let registry = RegistryProcess::start(LogIn::Nobody).await;
    let layer = |n: &str| Archive::new().dir("d/").file(&format!("d/{n}"), n.repeat(100_000));
    let image = TestImage::new(
        vec![
            (layer("one"), Compression::Gzip),
            (layer("two"), Compression::Zstd),
            (layer("three"), Compression::Plain),
        ],
        json!({"Entrypoint": ["/x"], "Env": ["A=b"], "User": "1003:1004"}),
    );
    registry.push("team/app", "1", &image).await;
    let room = Room::new();
    let name = registry.name("team/app:1");
    let id = room.pull(&name).await.unwrap();
    assert_eq!(id.digest(), &image.id);
    let status = room.images.resolve(&name).unwrap();
    assert_eq!(status.repo_tags, std::slice::from_ref(&name));
    let digested = registry.name(&format!("team/app@{}", image.digest()));
    assert_eq!(status.repo_digests, std::slice::from_ref(&digested));
    assert_eq!(status.user, ImageUser::Uid(1003));
    assert_eq!(status.config.entrypoint, ["/x"]);
    assert!(status.size > 1_000_000);
    for (n, word) in ["one", "two", "three"].iter().enumerate() {
        let text = std::fs::read_to_string(room.layer_dir(n, &id).join("d").join(word)).unwrap();
        assert_eq!(text, word.repeat(100_000));
    }
    for reference in [id.as_str(), id.digest().hex(), &id.digest().hex()[..13], &digested] {
        assert_eq!(room.images.status(reference).unwrap().as_ref(), Some(&status), "{reference}");
    }
    let fs = room.images.fs_info();
    assert!(fs.used_bytes > 1_000_000 && fs.inodes_used >= 6, "{fs:?}");

    let other = Room::new();
    assert_eq!(other.pull(&digested).await.unwrap(), id);
    let status = other.images.resolve(&digested).unwrap();
    assert_eq!((status.repo_tags, status.repo_digests), (vec![], vec![digested]));
    other.assert_clean().await;
}

#[tokio::test]
async fn a_pulled_image_survives_a_restart_and_leftovers_do_not() {
    let registry = RegistryProcess::start(LogIn::Nobody).await;
    registry.push("app", "1", &TestImage::small("kept")).await;
    let mut room = Room::new();
    let id = room.pull(&registry.name("app:1")).await.unwrap();
    let before = room.images.resolve(id.as_str()).unwrap();
    let layers = room.layers();
    let staged = room.dir.path().join("layers/.staging/half");
    std::fs::create_dir_all(staged.join("diff/x")).unwrap();
    let stray = room.dir.path().join("layers").join("e".repeat(64));
    std::fs::create_dir_all(stray.join("diff")).unwrap();
    std::fs::write(room.dir.path().join("images/.x.json.new"), "{").unwrap();
    room.reopen();
    assert_eq!(room.images.resolve(id.as_str()).unwrap(), before);
    assert_eq!(room.layers(), layers);
    assert!(room.images.fs_info().used_bytes > 0);
    room.assert_clean().await;
}

#[tokio::test]
async fn a_damaged_record_costs_one_image_and_not_the_start() {
    let registry = RegistryProcess::start(LogIn::Nobody).await;
    registry.push("a", "1", &TestImage::small("a")).await;
    registry.push("b", "1", &TestImage::small("b")).await;
    let mut room = Room::new();
    let a = room.pull(&registry.name("a:1")).await.unwrap();
    let b = room.pull(&registry.name("b:1")).await.unwrap();
    let record = room.dir.path().join(format!("images/{}.json", a.digest().hex()));
    std::fs::write(&record, "{\"version\":1").unwrap();
    room.reopen();
    assert_eq!(room.images.status(a.as_str()).unwrap(), None);
    assert!(room.images.status(b.as_str()).unwrap().is_some());
    assert_eq!(room.layers().len(), 1, "the lost image's layer is garbage");
    assert_eq!(room.pull(&registry.name("a:1")).await.unwrap(), a);
}

#[tokio::test]
async fn a_tag_that_moves_leaves_the_old_image_without_it() {
    let registry = RegistryProcess::start(LogIn::Nobody).await;
    let room = Room::new();
    let name = registry.name("app:latest");
    registry.push("app", "latest", &TestImage::small("old")).await;
    let old = room.pull(&name).await.unwrap();
    registry.push("app", "latest", &TestImage::small("new")).await;
    let new = room.pull(&registry.name("app")).await.unwrap();
    assert_ne!(old, new);
    assert_eq!(room.images.resolve(&name).unwrap().id, new);
    let old = room.images.resolve(old.as_str()).unwrap();
    assert_eq!(old.repo_tags, Vec::<String>::new());
    assert_eq!(old.repo_digests.len(), 1);
}

#[tokio::test]
async fn one_image_under_several_names_is_one_image() {
    let (one, two) =
        tokio::join!(RegistryProcess::start(LogIn::Nobody), RegistryProcess::start(LogIn::Nobody));
    let image = TestImage::small("same");
    for registry in [&one, &two] {
        registry.push("pause", "3.9", &image).await;
        registry.push("pause", "3", &image).await;
    }
    let room = Room::new();
    let names = [one.name("pause:3.9"), two.name("pause:3.9"), one.name("pause:3")];
    for name in &names {
        assert_eq!(room.pull(name).await.unwrap().digest(), &image.id);
    }
    let status = room.images.resolve(&names[0]).unwrap();
    let mut sorted = names.to_vec();
    sorted.sort();
    assert_eq!(status.repo_tags, sorted);
    assert_eq!(status.repo_digests.len(), 2);
    assert_eq!(room.images.list(None).unwrap().len(), 1);
    assert_eq!(status.digested_name(&names[1]), two.name(&format!("pause@{}", image.digest())));
    room.images.remove(&names[1]).await.unwrap().unwrap();
    assert_eq!(room.images.list(None).unwrap(), []);
    assert_eq!(room.layers(), Vec::<String>::new());
    assert_eq!(room.images.fs_info().used_bytes, 0);
    room.assert_clean().await;
}

#[tokio::test]
async fn the_hosts_variant_of_an_index_is_pulled() {
    let registry = RegistryProcess::start(LogIn::Nobody).await;
    let (here, elsewhere) = (TestImage::small("here"), TestImage::small("elsewhere"));
    registry.push("app", "here", &here).await;
    registry.push("app", "elsewhere", &elsewhere).await;
    let architecture = manifest::Platform::host().architecture;
    let entry = |image: &TestImage, architecture: &str| {
        json!({
            "mediaType": image.media_type, "digest": image.digest(), "size": image.manifest.len(),
            "platform": {"os": "linux", "architecture": architecture},
        })
    };
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = json!({
        "schemaVersion": 2, "mediaType": kind,
        "manifests": [entry(&elsewhere, "mips64"), entry(&here, &architecture)],
    });
    let index = serde_json::to_vec(&index).unwrap();
    registry.push_manifest("app", "multi", kind, &index).await;
    let only =
        json!({"schemaVersion": 2, "mediaType": kind, "manifests": [entry(&elsewhere, "mips64")]});
    let only = serde_json::to_vec(&only).unwrap();
    registry.push_manifest("app", "foreign", kind, &only).await;

    let room = Room::new();
    let id = room.pull(&registry.name("app:multi")).await.unwrap();
    assert_eq!(id.digest(), &here.id);
    let by_index = registry.name(&format!("app@{}", Digest::of(&index)));
    assert_eq!(room.images.resolve(&by_index).unwrap().repo_digests, [by_index]);
    let by_manifest = registry.name(&format!("app@{}", here.digest()));
    assert_eq!(room.images.resolve(&by_manifest).unwrap().id, id);
    let error = room.pull(&registry.name("app:foreign")).await.unwrap_err();
    assert!(matches!(error.cause(), ImageError::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains(&architecture), "{error}");
}

#[tokio::test]
async fn a_password_opens_only_the_pull_it_came_with() {
    let registry = RegistryProcess::start(LogIn::ByPassword).await;
    registry.push("secret", "1", &TestImage::small("secret")).await;
    let room = Room::new();
    let name = registry.name("secret:1");
    let id = room.pull_as(&name, USER, PASSWORD).await.unwrap();
    let errors = [
        room.pull(&name).await.unwrap_err(),
        room.pull_as(&name, USER, "guess").await.unwrap_err(),
        room.pull_as(&name, "bob", PASSWORD).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error.cause(), ImageError::Unauthorized { .. }), "{error}");
        assert!(!error.to_string().contains("guess"), "{error}");
    }
    // At the same time, too: work is shared only among those with the same rights.
    room.images.remove(id.as_str()).await.unwrap();
    let (with, without) = tokio::join!(room.pull_as(&name, USER, PASSWORD), room.pull(&name));
    assert!(with.is_ok() && without.is_err());
}

#[tokio::test]
async fn what_is_not_there_is_told_apart_from_who_is_not_there() {
    let registry = RegistryProcess::start(LogIn::Nobody).await;
    let room = Room::new();
    let error = room.pull(&registry.name("no/such:1")).await.unwrap_err();
    assert!(matches!(error.cause(), ImageError::NotFound { .. }), "{error}");
    assert!(error.to_string().contains("no/such:1"), "{error}");
    let dead = free_host();
    let begun = std::time::Instant::now();
    let error = room.pull(&format!("{dead}/app:1")).await.unwrap_err();
    assert!(
        matches!(error.cause(), ImageError::Unavailable { registry, .. } if *registry == dead),
        "{error}"
    );
    assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(matches!(room.pull("Bad Name").await, Err(ImageError::InvalidReference { .. })));
}

#[tokio::test]
async fn a_mirror_serves_under_the_registrys_name_and_the_next_one_if_it_is_dead() {
    let registry = RegistryProcess::start(LogIn::Nobody).await;
    let image = TestImage::small("mirrored");
    registry.push("k8s/pause", "3.9", &image).await;
    let room = Room::with_registries(&format!(
        "[[registry]]\nprefix = \"registry.invalid\"\n\
         [[registry.mirror]]\nlocation = \"{}\"\n\
         [[registry.mirror]]\nlocation = \"{}/k8s\"\ninsecure = true\n",
        free_host(),
        registry.host
    ));
    let id = room.pull("registry.invalid/pause:3.9").await.unwrap();
    let status = room.images.resolve(id.as_str()).unwrap();
    assert_eq!(status.repo_tags, ["registry.invalid/pause:3.9"]);
    assert_eq!(status.repo_digests, [format!("registry.invalid/pause@{}", image.digest())]);
}

#[tokio::test]
async fn parallel_pulls_and_removals_end_well() {
    let registry = RegistryProcess::start(LogIn::Nobody).await;
    let shared = Archive::new().dir("base/").file("base/f", vec![7; 300_000]).bytes();
    for n in 0..4 {
        let own = Archive::new().file("own", format!("{n}")).bytes();
        let layers = vec![(shared.clone(), Compression::Gzip), (own, Compression::Zstd)];
        registry.push("app", &n.to_string(), &TestImage::of_bytes(layers, json!({}))).await;
    }
    let room = Room::new();
    for round in 0..3 {
        let pulls = (0..12).map(|n| {
            let name = registry.name(&format!("app:{}", n % 4));
            let room = &room;
            async move { room.pull(&name).await }
        });
        let ids: Vec<ImageId> = futures::future::try_join_all(pulls).await.unwrap();
        assert_eq!(room.images.list(None).unwrap().len(), 4);
        assert_eq!(room.layers().len(), 5, "round {round}: the common layer is kept once");
        let removals = ids[..4].iter().flat_map(|id| [id, id, id]).map(|id| async {
            let removed = room.images.remove(id.as_str()).await;
            assert_eq!(room.images.status(id.as_str()).unwrap(), None);
            removed
        });
        futures::future::try_join_all(removals).await.unwrap();
        assert_eq!(room.layers(), Vec::<String>::new());
    }
    // Pulls against removals: whatever the order, what is listed is whole.
    for _ in 0..5 {
        let name = registry.name("app:1");
        let (pulled, removed) = tokio::join!(room.pull(&name), room.images.remove(&name));
        let id = pulled.unwrap();
        removed.unwrap();
        if room.images.status(id.as_str()).unwrap().is_some() {
            assert!(room.layer_dir(0, &id).join("base/f").exists());
        }
    }
    room.assert_clean().await;
}

#[tokio::test]
async fn a_layer_takes_what_it_does_not_describe_from_the_layers_below() {
    let registry = RegistryProcess::start(LogIn::Nobody).await;
    let low = Archive::new()
        .entry(tar::EntryType::Directory, "srv/", "", 0o750, (33, 44), b"")
        .entry(tar::EntryType::Regular, "srv/low", "", 0o4711, (5, 6), b"from below");
    let high = Archive::new().file("srv/high", "x").hard_link("srv/link", "srv/low");
    let image =
        TestImage::new(vec![(low, Compression::Gzip), (high, Compression::Gzip)], json!({}));
    registry.push("app", "1", &image).await;
    let room = Room::new();
    let id = room.pull(&registry.name("app:1")).await.unwrap();
    let layer = room.layer_dir(1, &id);
    let dir = std::fs::metadata(layer.join("srv")).unwrap();
    assert_eq!((dir.uid(), dir.gid(), dir.mode() & 0o7777), (33, 44, 0o750));
    let link = std::fs::metadata(layer.join("srv/link")).unwrap();
    assert_eq!((link.uid(), link.gid(), link.mode() & 0o7777), (5, 6, 0o4711));
    assert_eq!(std::fs::read_to_string(layer.join("srv/link")).unwrap(), "from below");
    assert!(room.layers().iter().any(|name| name.starts_with("chain-")), "{:?}", room.layers());
}
