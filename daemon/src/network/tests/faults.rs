// SPDX-License-Identifier: Apache-2.0

use std::time::Instant;

use serde_json::json;

use super::*;

const RESULT: &str = r#"echo '{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"/x"}],
"ips":[{"address":"10.99.250.7/24","interface":0}]}'"#;

/// A network of the plugins `good` and `bad`, in this order.
const CONF: &str = r#"{"cniVersion":"1.1.0","name":"faulty","plugins":[
    {"type":"good","capabilities":{"portMappings":true},"kept":{"as":"is"}},{"type":"bad"}]}"#;

async fn fixture(bad: &str) -> Fixture {
    let fixture = Fixture::with_deadline(CONF, Duration::from_secs(2)).await;
    fixture.plugin("good", &format!("test $CNI_COMMAND = ADD && {RESULT}; exit 0"));
    fixture.plugin("bad", bad);
    fixture
}

/// Attaches, which must fail, and answers with the error's text.
async fn refused(fixture: &Fixture) -> String {
    let pod = pod("p1");
    let netns = fixture.pin(&pod).await;
    let error = fixture.network.attach(&pod, &request(netns)).await.unwrap_err();
    error.to_string()
}

#[tokio::test]
async fn a_chain_passes_the_result_on_and_is_undone_in_reverse() {
    let script = format!("test $CNI_COMMAND = ADD && {RESULT}; exit 0");
    let fixture = fixture(&script).await;
    let pod = pod("p1");
    let netns = fixture.pin(&pod).await;
    let attachment = fixture.network.attach(&pod, &request(netns)).await.unwrap();
    assert_eq!(attachment.ips, ["10.99.250.7".parse::<std::net::IpAddr>().unwrap()]);
    fixture.network.check(&pod).await.unwrap();
    fixture.network.detach(&pod).await.unwrap();
    let expected = ["good ADD", "bad ADD", "good CHECK", "bad CHECK", "bad DEL", "good DEL"];
    assert_eq!(fixture.calls(), expected);

    let first = fixture.input("good", "ADD");
    let own =
        json!({"cniVersion": "1.1.0", "name": "faulty", "type": "good", "kept": {"as": "is"}});
    assert_eq!(first, own);
    for (plugin, command) in [("bad", "ADD"), ("good", "CHECK"), ("good", "DEL"), ("bad", "DEL")] {
        let before = &fixture.input(plugin, command)["prevResult"];
        assert_eq!(before["ips"][0]["address"], "10.99.250.7/24", "{plugin} {command}");
    }
    fixture.assert_forgotten();
}

#[tokio::test]
async fn a_plugins_own_words_are_in_the_error_and_what_was_made_is_undone() {
    let script = r#"test $CNI_COMMAND = DEL && exit 0
        echo 'looked everywhere' >&2
        echo '{"cniVersion":"1.1.0","code":7,"msg":"no more addresses","details":"range is full"}'
        exit 1"#;
    let fixture = fixture(script).await;
    let text = refused(&fixture).await;
    for part in
        ["faulty", "bad ADD", "no more addresses", "code 7", "range is full", "looked everywhere"]
    {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
    assert_eq!(fixture.calls(), ["good ADD", "bad ADD", "bad DEL", "good DEL"]);
    fixture.assert_forgotten();
}

#[tokio::test]
async fn a_plugin_that_hangs_is_killed_with_its_children() {
    let script = r#"test $CNI_COMMAND = DEL && exit 0
        sleep 987 & echo $! > $D/grandchild; wait"#;
    let fixture = fixture(script).await;
    let begun = Instant::now();
    let text = refused(&fixture).await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(text.contains("bad ADD: killed after 2s"), "{text}");
    let grandchild = fs::read_to_string(fixture.path("grandchild")).unwrap();
    let running = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", grandchild.trim()));
        stat.is_ok_and(|stat| crisp_words::runs(&stat))
    };
    let until = Instant::now() + Duration::from_secs(2);
    while running() {
        assert!(Instant::now() < until, "a process of the plugin stayed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    fixture.assert_forgotten();
}

#[tokio::test]
async fn plugins_that_die_or_lie_are_told_apart() {
    for (script, part) in [
        ("kill -9 $$", "bad ADD: signal: 9 (SIGKILL) without an answer"),
        ("echo oops >&2; exit 3", "bad ADD: exit status: 3 without an answer; stderr: oops"),
        ("echo '{\"ips\": ['", "bad ADD: answer makes no sense: not valid JSON"),
        ("echo '[]'", "answer makes no sense: must be a JSON object"),
        ("echo '{\"ips\":[{\"address\":\"nowhere\"}]}'", "ips[0].address = \"nowhere\""),
        ("echo '{\"code\":99,\"msg\":\"changed my mind\"}'", "changed my mind (code 99)"),
        ("echo '{\"cniVersion\":\"1.1.0\"}'", "gave no address to interface eth0"),
        ("exit 0", "answer makes no sense"),
    ] {
        let fixture = fixture(&format!("test $CNI_COMMAND = DEL && exit 0\n{script}")).await;
        let text = refused(&fixture).await;
        assert!(text.contains(part), "{text:?} does not say {part:?}");
        assert_eq!(fixture.calls()[2..], ["bad DEL", "good DEL"]);
        fixture.assert_forgotten();
    }
}

#[tokio::test]
async fn a_missing_plugin_is_named_with_the_directories() {
    let fixture = fixture("exit 0").await;
    fs::remove_file(fixture.path("plugins/bad")).unwrap();
    let text = refused(&fixture).await;
    assert!(text.contains("CNI plugin bad is in none of") && text.contains(PLUGINS), "{text}");
    // Its DEL cannot be called either: the pod stays known until the plugin is back.
    assert_eq!(fixture.network.pending().unwrap().len(), 1);
    fixture.plugin("bad", "exit 0");
    fixture.network.detach(&pod("p1")).await.unwrap();
    fixture.assert_forgotten();
}

#[tokio::test]
async fn a_failed_del_can_be_tried_again_and_spares_no_plugin() {
    let script = "test -e $D/broken && { echo still busy >&2; exit 1; }; exit 0";
    let fixture =
        fixture(&format!("test $CNI_COMMAND = ADD && {{ {RESULT}; exit 0; }}\n{script}")).await;
    let pod = pod("p1");
    let netns = fixture.pin(&pod).await;
    fixture.network.attach(&pod, &request(netns)).await.unwrap();
    fs::write(fixture.path("broken"), "").unwrap();
    let text = fixture.network.detach(&pod).await.unwrap_err().to_string();
    assert!(text.contains("pod p1") && text.contains("still busy"), "{text}");
    assert_eq!(fixture.calls()[2..], ["bad DEL", "good DEL"]);
    fs::remove_file(fixture.path("broken")).unwrap();
    fixture.network.detach(&pod).await.unwrap();
    fixture.assert_forgotten();
}

#[tokio::test]
async fn an_attach_that_is_cut_off_is_found_and_undone() {
    let fixture = fixture("test $CNI_COMMAND = ADD && exec sleep 60; exit 0").await;
    let pod = pod("p1");
    let netns = fixture.pin(&pod).await;
    let wanted = request(netns);
    let halfway = async {
        while fixture.calls().len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        came = fixture.network.attach(&pod, &wanted) => panic!("not cut off: {came:?}"),
        () = halfway => (),
    }
    let restarted = fixture.restarted().await;
    let pending = restarted.pending().unwrap();
    assert_eq!(pending, [Pending { pod: pod.clone(), state: PendingState::Unfinished }]);
    restarted.detach(&pod).await.unwrap();
    assert_eq!(fixture.calls(), ["good ADD", "bad ADD", "bad DEL", "good DEL"]);
    fixture.assert_forgotten();
}

#[tokio::test]
async fn a_damaged_record_still_gets_its_del() {
    let fixture = fixture("exit 0").await;
    fs::write(fixture.path("state/p1.json"), "{\"pod\":").unwrap();
    fixture.network.detach(&pod("p1")).await.unwrap();
    assert_eq!(fixture.calls(), ["bad DEL", "good DEL"]);
    fixture.assert_forgotten();
}

#[tokio::test]
async fn a_record_that_was_being_written_at_the_daemons_death_goes() {
    let fixture = fixture("exit 0").await;
    fs::write(fixture.path("state/p1.json.new"), "{\"pod\":").unwrap();
    let restarted = fixture.restarted().await;
    assert_eq!(restarted.pending().unwrap(), []);
    let left: Vec<_> = fs::read_dir(fixture.path("state")).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn gc_tells_plugins_what_lives() {
    let script = format!("test $CNI_COMMAND = ADD && {RESULT}; exit 0");
    let fixture = fixture(&script).await;
    for name in ["p1", "p2"] {
        let pod = pod(name);
        let netns = fixture.pin(&pod).await;
        fixture.network.attach(&pod, &request(netns)).await.unwrap();
    }
    fixture.network.gc(&[pod("p2")].into()).await.unwrap();
    assert_eq!(fixture.network.pending().unwrap().len(), 1);
    assert_eq!(fixture.calls()[4..], ["bad DEL", "good DEL", "good GC", "bad GC"]);
    let valid = &fixture.input("good", "GC")["cni.dev/valid-attachments"];
    assert_eq!(*valid, json!([{"containerID": "p2", "ifname": "eth0"}]));
}
