// SPDX-License-Identifier: Apache-2.0

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    fake::{Answer, Asked, FakeRegistry},
    *,
};

/// Serves `image` as it should be.
fn well(image: &TestImage, asked: &Asked) -> Answer {
    if asked.path.contains("/manifests/") {
        return Answer::ok(image.manifest.clone()).header("content-type", image.media_type);
    }
    let at = image.digests.iter().position(|digest| asked.path.ends_with(digest.as_str()));
    at.map_or_else(|| Answer::status(404), |at| Answer::ok(image.blobs[at].clone()))
}

fn is_layer(image: &TestImage, asked: &Asked) -> bool {
    asked.path.ends_with(image.digests[0].as_str())
}

fn big() -> TestImage {
    let noise: Vec<u8> =
        (0..100_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    TestImage::new(vec![(Archive::new().file("noise", noise), Compression::Gzip)], json!({}))
}

async fn fails(room: &Room, registry: &FakeRegistry) -> ImageError {
    let begun = Instant::now();
    let error = room.pull(&format!("{}/app:1", registry.host)).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(20), "{error} took {:?}", begun.elapsed());
    assert_eq!(room.images.list(None).unwrap(), []);
    assert_eq!(room.layers(), Vec::<String>::new(), "{error}");
    room.assert_clean().await;
    error
}

#[tokio::test]
async fn a_blob_with_the_wrong_content_is_refused() {
    let image = big();
    let registry = FakeRegistry::start(move |asked| {
        let mut answer = well(&image, asked);
        if is_layer(&image, asked) {
            let middle = answer.body.len() / 2;
            answer.body[middle] ^= 1;
        }
        answer
    });
    let error = fails(&Room::new(), &registry).await;
    assert!(
        matches!(error.cause(), ImageError::Corrupt { .. } | ImageError::Unpack { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_config_or_manifest_with_the_wrong_digest_is_refused() {
    let image = TestImage::small("x");
    let (digest, id) = (image.digest(), image.id.clone());
    let registry = FakeRegistry::start(move |asked| {
        let mut answer = well(&image, asked);
        if asked.path.contains("/manifests/sha256") || asked.path.ends_with(id.as_str()) {
            answer.body.push(b' ');
        }
        answer
    });
    let room = Room::new();
    let error = fails(&room, &registry).await;
    assert!(matches!(error.cause(), ImageError::Corrupt { .. }), "{error}");
    let error = room.pull(&format!("{}/app@{digest}", registry.host)).await.unwrap_err();
    assert!(matches!(error.cause(), ImageError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn a_layer_that_is_not_what_the_config_says_is_refused() {
    let (image, other) = (TestImage::small("good"), TestImage::small("evil"));
    let evil_layer = other.blobs[0].clone();
    let manifest = String::from_utf8(image.manifest.clone()).unwrap();
    let manifest = manifest
        .replace(Digest::of(&image.blobs[0]).as_str(), Digest::of(&evil_layer).as_str())
        .replace(
            &format!("\"size\":{}", image.blobs[0].len()),
            &format!("\"size\":{}", evil_layer.len()),
        );
    let registry = FakeRegistry::start(move |asked| {
        if asked.path.contains("/manifests/") {
            return Answer::ok(manifest.clone()).header("content-type", image.media_type);
        }
        if asked.path.ends_with(Digest::of(&evil_layer).as_str()) {
            return Answer::ok(evil_layer.clone());
        }
        well(&image, asked)
    });
    let error = fails(&Room::new(), &registry).await;
    assert!(matches!(error.cause(), ImageError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("layer"), "{error}");
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_broke_off() {
    let image = Arc::new(big());
    for heeds_ranges in [true, false] {
        let image = Arc::clone(&image);
        let served = Arc::clone(&image);
        let breaks = AtomicUsize::new(0);
        let registry = FakeRegistry::start(move |asked| {
            let mut answer = well(&served, asked);
            if !is_layer(&served, asked) {
                return answer;
            }
            let total = answer.body.len();
            if let Some(range) = asked.headers.get("range").filter(|_| heeds_ranges) {
                let from: usize = range["bytes=".len()..].trim_end_matches('-').parse().unwrap();
                answer.body.drain(..from);
                answer.status = 206;
                answer =
                    answer.header("content-range", format!("bytes {from}-{}/{total}", total - 1));
            }
            let tries = breaks.fetch_add(1, Ordering::SeqCst);
            if tries < 4 {
                answer.cut = Some(total / 6 * if heeds_ranges { 1 } else { tries + 1 });
            }
            answer
        });
        let room = Room::new();
        let id = room.pull(&format!("{}/app:1", registry.host)).await.unwrap();
        assert_eq!(id.digest(), &image.id);
        let ranges = registry.asked().iter().filter(|a| a.headers.contains_key("range")).count();
        assert_eq!(ranges, 4);
    }
}

#[tokio::test]
async fn a_blob_that_never_ends_well_or_stalls_is_an_unavailable_registry() {
    for hang in [None, Some(Duration::from_secs(4))] {
        let image = big();
        let registry = FakeRegistry::start(move |asked| {
            let mut answer = well(&image, asked);
            if is_layer(&image, asked) {
                answer.cut = Some(0);
                answer.hang = hang;
            }
            answer
        });
        let error = fails(&Room::new(), &registry).await;
        assert!(matches!(error.cause(), ImageError::Unavailable { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_registry_that_hangs_or_fails_is_unavailable_and_named() {
    type Behaviour = Box<dyn Fn(&Asked) -> Answer + Send + Sync>;
    let silent: Behaviour = Box::new(|_| {
        std::thread::sleep(Duration::from_secs(4));
        Answer::ok("")
    });
    let failing: Behaviour = Box::new(|_| Answer::status(503).header("retry-after", "0"));
    let limiting: Behaviour = Box::new(|_| Answer::status(429));
    for behaviour in [silent, failing, limiting] {
        let registry = FakeRegistry::start(behaviour);
        let error = fails(&Room::new(), &registry).await;
        assert!(
            matches!(error.cause(), ImageError::Unavailable { registry: named, .. } if *named == registry.host),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_registry_that_recovers_is_waited_for() {
    let image = TestImage::small("x");
    let count = AtomicUsize::new(0);
    let registry = FakeRegistry::start(move |asked| {
        if count.fetch_add(1, Ordering::SeqCst) < 2 {
            return Answer::status(503);
        }
        well(&image, asked)
    });
    Room::new().pull(&format!("{}/app:1", registry.host)).await.unwrap();
}

#[tokio::test]
async fn a_registry_that_asks_to_log_in_for_ever_is_given_up() {
    let registry = FakeRegistry::start(|asked| {
        if asked.path.starts_with("/token") {
            return Answer::ok(r#"{"token":"t"}"#);
        }
        let host = &asked.headers["host"];
        Answer::status(401).header(
            "www-authenticate",
            format!("Bearer realm=\"http://{host}/token\",service=\"s\""),
        )
    });
    let error = fails(&Room::new(), &registry).await;
    assert!(matches!(error.cause(), ImageError::Unauthorized { .. }), "{error}");
    assert!(registry.asked().len() < 20, "{}", registry.asked().len());
}

#[tokio::test]
async fn a_token_is_fetched_with_the_pulls_credentials_renewed_and_never_sent_elsewhere() {
    let image = Arc::new(TestImage::small("x"));
    let storage = {
        let image = Arc::clone(&image);
        FakeRegistry::start(move |asked| well(&image, asked))
    };
    let storage_host = storage.host.clone();
    let tokens = AtomicUsize::new(0);
    let registry = FakeRegistry::start(move |asked| {
        if asked.path.starts_with("/token") {
            let n = tokens.fetch_add(1, Ordering::SeqCst);
            return Answer::ok(format!(r#"{{"access_token":"t{n}"}}"#));
        }
        // The first token is good for the manifest only.
        let wanted = if asked.path.contains("/manifests/") { "Bearer t0" } else { "Bearer t1" };
        if asked.headers.get("authorization").is_none_or(|token| token != wanted) {
            let host = &asked.headers["host"];
            let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"s\"");
            return Answer::status(401).header("www-authenticate", challenge);
        }
        if is_layer(&image, asked) {
            let url = format!("http://{storage_host}{}", asked.path);
            return Answer::status(307).header("location", url);
        }
        well(&image, asked)
    });
    let room = Room::new();
    room.pull_as(&format!("{}/app:1", registry.host), "bob", "hunter2").await.unwrap();
    let asked = registry.asked();
    let token_requests: Vec<_> = asked.iter().filter(|a| a.path.starts_with("/token")).collect();
    assert_eq!(token_requests.len(), 2);
    for request in token_requests {
        assert!(request.path.contains("scope=repository%3Aapp%3Apull"), "{}", request.path);
        assert!(request.headers["authorization"].starts_with("Basic "));
    }
    let elsewhere = storage.asked();
    assert_eq!(elsewhere.len(), 1);
    assert!(!elsewhere[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_post() {
    let image = TestImage::small("x");
    let registry = FakeRegistry::start(move |asked| {
        if asked.path.starts_with("/token") {
            return match (asked.method.as_str(), asked.body.contains("refresh_token=idtoken")) {
                ("POST", true) => Answer::ok(r#"{"access_token":"good"}"#),
                _ => Answer::status(400),
            };
        }
        if asked.headers.get("authorization").is_some_and(|token| token == "Bearer good") {
            return well(&image, asked);
        }
        let host = &asked.headers["host"];
        let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"s\"");
        Answer::status(401).header("www-authenticate", challenge)
    });
    let auth = AuthFields { identity_token: "idtoken".to_owned(), ..AuthFields::default() };
    let reference = format!("{}/app:1", registry.host);
    let request = PullRequest { reference, auth: Some(auth), ..PullRequest::default() };
    Room::new().images.pull(request).await.unwrap();
}

#[tokio::test]
async fn an_endless_manifest_is_cut_off() {
    let registry = FakeRegistry::start(|_| Answer::ok(vec![b' '; 6 << 20]));
    let error = fails(&Room::new(), &registry).await;
    assert!(matches!(error.cause(), ImageError::BadAnswer { .. }), "{error}");
    assert!(error.to_string().contains("bigger"), "{error}");
}

#[tokio::test]
async fn an_abandoned_pull_leaves_nothing_and_the_next_one_works() {
    let image = Arc::new(big());
    let served = Arc::clone(&image);
    let slow = Arc::new(AtomicUsize::new(1));
    let is_slow = Arc::clone(&slow);
    let registry = FakeRegistry::start(move |asked| {
        let mut answer = well(&served, asked);
        if is_layer(&served, asked) && is_slow.load(Ordering::SeqCst) == 1 {
            answer.cut = Some(answer.body.len() / 2);
            answer.hang = Some(Duration::from_secs(5));
        }
        answer
    });
    let room = Room::new();
    let name = format!("{}/app:1", registry.host);
    let pull = tokio::time::timeout(Duration::from_millis(300), room.pull(&name)).await;
    assert!(pull.is_err(), "{pull:?}");
    room.assert_clean().await;
    assert_eq!(room.layers(), Vec::<String>::new());
    slow.store(0, Ordering::SeqCst);
    assert_eq!(room.pull(&name).await.unwrap().digest(), &image.id);
}

#[tokio::test]
async fn a_hostile_layer_fails_the_pull_with_its_entry() {
    let layer = Archive::new().file("../escape", "x");
    let image = TestImage::new(vec![(layer, Compression::Gzip)], json!({}));
    let registry = FakeRegistry::start(move |asked| well(&image, asked));
    let error = fails(&Room::new(), &registry).await;
    assert!(error.to_string().contains("../escape"), "{error}");
}
