// SPDX-License-Identifier: Apache-2.0

use super::*;

fn not_ready(readiness: Readiness) -> (Reason, String) {
    match readiness {
        Readiness::NotReady(why) => (why.reason, why.message),
        Readiness::Ready => panic!("it is ready"),
    }
}

const VERSIONS: &str = r#"test $CNI_COMMAND = VERSION &&
    echo '{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.0.0","1.1.0"]}'"#;

fn conf(version: &str) -> String {
    format!(r#"{{"cniVersion":"{version}","name":"n","plugins":[{{"type":"fake"}}]}}"#)
}

async fn eventually(network: &Network, wanted: impl Fn(&Readiness) -> bool) -> Readiness {
    let until = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        let readiness = network.ready().await;
        if wanted(&readiness) || std::time::Instant::now() > until {
            return readiness;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_configuration_that_comes_later_is_taken_up_without_being_asked_for() {
    let fixture = Fixture::new("").await;
    let (reason, message) = not_ready(fixture.network.ready().await);
    assert_eq!(reason, Reason::NoNetworkConfig);
    assert!(message.contains("no network configuration in"), "{message}");
    fixture.plugin("fake", VERSIONS);
    // As installers do it: a temporary name, then a rename.
    fs::write(fixture.path("conf/.new"), conf("1.0.0")).unwrap();
    fs::rename(fixture.path("conf/.new"), fixture.path("conf/1.conflist")).unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(5);
    while fixture.network.file().is_none() && std::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(fixture.network.file(), Some(fixture.path("conf/1.conflist")));
    assert_eq!(fixture.network.ready().await, Readiness::Ready);

    fs::remove_dir_all(fixture.path("conf")).unwrap();
    eventually(&fixture.network, |r| *r != Readiness::Ready).await;
    assert!(matches!(fixture.network.ready().await, Readiness::NotReady(_)));
    // The directory is made again and watched again.
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while !fixture.path("conf").is_dir() && std::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    fs::write(fixture.path("conf/2.conflist"), conf("1.0.0")).unwrap();
    assert_eq!(eventually(&fixture.network, |r| *r == Readiness::Ready).await, Readiness::Ready);
}

#[tokio::test]
async fn a_missing_plugin_makes_the_network_not_ready() {
    let fixture = Fixture::new(&conf("1.0.0")).await;
    let (reason, message) = not_ready(fixture.network.ready().await);
    assert_eq!(reason, Reason::PluginMissing);
    assert!(message.contains("fake") && message.contains("10.conflist"), "{message}");
}

#[tokio::test]
async fn a_version_that_a_plugin_does_not_speak_is_named() {
    let fixture = Fixture::new(&conf("1.1.0")).await;
    fixture.plugin("fake", "echo '{\"supportedVersions\":[\"0.4.0\",\"1.0.0\"]}'");
    let (reason, message) = not_ready(fixture.network.ready().await);
    assert_eq!(reason, Reason::PluginVersion);
    assert!(message.contains("cniVersion 1.1.0") && message.contains("0.4.0, 1.0.0"), "{message}");
}

#[tokio::test]
async fn a_plugin_that_says_it_is_not_ready_is_believed_and_asked_again() {
    let fixture = Fixture::new(&conf("1.1.0")).await;
    let script = format!(
        "{VERSIONS}\ntest $CNI_COMMAND = STATUS && test ! -e $D/up && {{
            echo '{{\"code\":50,\"msg\":\"datapath is down\"}}'; exit 1; }}\nexit 0"
    );
    fixture.plugin("fake", &script);
    let (reason, message) = not_ready(fixture.network.ready().await);
    assert_eq!(reason, Reason::PluginNotReady);
    assert!(message.contains("datapath is down (code 50)"), "{message}");
    let asked = fixture.calls().len();
    let _ = fixture.network.ready().await;
    assert_eq!(fixture.calls().len(), asked, "the answer was not remembered");
    fs::write(fixture.path("up"), "").unwrap();
    let readiness = eventually(&fixture.network, |r| *r == Readiness::Ready).await;
    assert_eq!(readiness, Readiness::Ready);
}

#[tokio::test]
async fn a_plugin_that_does_not_answer_holds_nobody_up() {
    let fixture = Fixture::with_deadline(&conf("1.1.0"), Duration::from_secs(4)).await;
    fixture.plugin("fake", "exec sleep 60");
    let begun = std::time::Instant::now();
    let (reason, _) = not_ready(fixture.network.ready().await);
    assert_eq!(reason, Reason::PluginNotReady);
    assert!(begun.elapsed() < Duration::from_millis(3900));
    let said = |r: &Readiness| matches!(r, Readiness::NotReady(why) if why.message.contains("killed after"));
    assert!(said(&eventually(&fixture.network, said).await));
}

#[tokio::test]
async fn the_pod_cidr_is_offered_to_plugins_that_want_it() {
    let text = r#"{"cniVersion":"1.0.0","name":"n","plugins":[
        {"type":"fake","capabilities":{"ipRanges":true}}]}"#;
    let fixture = Fixture::new(text).await;
    fixture.plugin(
        "fake",
        "test $CNI_COMMAND = ADD && echo '{\"ips\":[{\"address\":\"10.9.0.2/24\"}]}'; exit 0",
    );
    fixture.network.set_pod_cidr("10.9.0.0/24,fd00:9::/64").unwrap();
    fixture.network.set_pod_cidr("").unwrap();
    assert!(fixture.network.set_pod_cidr("10.9.0.0").is_err());
    let restarted = fixture.restarted().await;
    let pod = pod("p1");
    let netns = fixture.pin(&pod).await;
    restarted.attach(&pod, &request(netns)).await.unwrap();
    let ranges = &fixture.input("fake", "ADD")["runtimeConfig"]["ipRanges"];
    let expected = serde_json::json!([[{"subnet": "10.9.0.0/24"}], [{"subnet": "fd00:9::/64"}]]);
    assert_eq!(*ranges, expected);
    restarted.detach(&pod).await.unwrap();
}
